"""Signals, reload, how a process ended, and its log."""
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time

from leeward.claims import equal, expect
from leeward.cluster import BIN, Cluster, Failure, b64, bench, wait_for
from common import ask, page


def sighup_takes_limits_and_log_level_and_names_the_rest():
    with Cluster(active=1, settings={"limits": {"txn_ops": 5}, "log": {"level": "info"}}) as c:
        node = c.start().wait_ready().active[0]
        c.settings = {"limits": {"txn_ops": 2, "connections": 77, "request_bytes": "1KiB", "rate": 1000}, "log": {"level": "warn"},
                      "raft": {"heartbeat_interval": "150ms"}}
        path = os.path.join(node.dir, "leeward.toml")
        def reload(text):
            with open(path, "w", encoding="utf-8") as handle:
                handle.write(text)
            node.process.send_signal(signal.SIGHUP)
        reload(node.config())
        wait_for("the warning", lambda: "waits for the next start" in node.log_text() and '"key":"raft.heartbeat_interval"' in node.log_text())
        shown = lambda: ask(node.admin, "/debug/config")[2]
        for word in ("txn_ops = 2", "connections = 77", 'level = "warn"', 'heartbeat_interval = "100ms"'):
            wait_for(word, lambda w=word: w in shown())
        held = [socket.create_connection((node.host, 2379)) for _ in range(90)]
        wait_for("connections beyond the new limit to be refused", lambda: page(node)("rejected_total", reason="connections") > 0)
        for s in held:
            s.close()
        wait_for("room again", lambda: page(node)("connections", listener="client") == 0)
        ops = [{"requestPut": {"key": key, "value": "YQ=="}} for key in ("YQ==", "Yg==", "Yw==")]
        node.post("/v3/kv/txn", {"success": ops[:2]})
        for path_, body, word in (("/v3/kv/txn", {"success": ops}, "too many operations"),
                                  ("/v3/kv/put", {"key": "YQ==", "value": "A" * 4000}, "too large")):
            try:
                node.post(path_, body)
                raise AssertionError(f"{path_} was taken")
            except Failure as error:
                expect(word in str(error), str(error))
        c.settings["limits"]["rate"] = 1
        reload(node.config())
        def refused():
            try:
                node.put("many", "times")
            except Failure as error:
                return "too many requests" in str(error)
        wait_for("requests beyond the rate to be refused", refused)
        expect(page(node)("rejected_total", reason="rate") > 0, "nobody counted them")
        c.settings["limits"]["rate"] = 0
        reload(node.config())
        wait_for("requests to be taken again", lambda: not refused())
        reload("[node]\nid = nonsense\n")
        wait_for("the problem", lambda: "the running configuration stays" in node.log_text())
        expect("txn_ops = 2" in shown(), "a broken file changed something")
        node.put("still", "works")
        # A log that was rotated away is let go though the file cannot be read.
        log = os.path.join(node.dir, "log")
        os.rename(log, log + ".1")
        os.remove(path)
        node.process.send_signal(signal.SIGHUP)
        wait_for("a new log", lambda: os.path.exists(log) and "reloaded in part" in node.log_text())
        def problem():  # a line may be read half written
            with open(log, encoding="utf-8") as handle:
                return next(line for line in map(json.loads, handle) if "the running configuration stays" in line["msg"])
        told = wait_for("the problem in the new log", problem)
        expect(path in told["problem"], str(told))


def recorded(path):
    """Events of a dump, as leewardctl shows them and as they are."""
    shown = subprocess.run([os.path.join(BIN, "leewardctl"), "flight", path], capture_output=True, text=True, timeout=20, check=False)
    equal((shown.returncode, shown.stderr), (0, ""), f"leewardctl flight {path}")
    with open(path, encoding="utf-8") as handle:
        events = [json.loads(line) for line in handle]
    equal(len(shown.stdout.splitlines()), len(events), "lines shown")
    return events, shown.stdout


def the_flight_recorder_is_dumped_by_sigusr1_by_a_crash_and_on_the_admin_port():
    with Cluster(active=1, settings={"log": {"level": "error"}}) as c:
        node = c.start().wait_ready().active[0]
        node.put("a", "b")
        wait_for("a second with a sync in it", lambda: any("fsync" in json.loads(line) for line in node.get("/debug/flight")[1].splitlines()))
        node.process.send_signal(signal.SIGUSR1)
        asked = os.path.join(node.dir, "data", "flight.jsonl")
        wait_for("a dump", lambda: os.path.exists(asked))
        events, shown = recorded(asked)
        expect("was elected leader" in [e["msg"] for e in events], "no election, though the log has only errors")
        expect("  INFO   was elected leader  " in shown.replace("info ", "INFO "), shown[:500])
        expect(events[0]["ts"] < events[-1]["ts"], "their order")
        wait_for("/livez after SIGUSR1", lambda: node.ok("/livez"))
        node.kill(signal.SIGSEGV)
        events, _ = recorded(os.path.join(node.dir, "data", "flight-crash.jsonl"))
        expect(events[-1]["ts"] > [e for e in events if e["msg"] == "was elected leader"][-1]["ts"], "the crash's dump is the older one")
        node.start()  # such files disturb nobody
        c.wait_ready()
        verified = node.kill(signal.SIGTERM)
        equal(verified, 0)
        done = subprocess.run([os.path.join(BIN, "leewardctl"), "storage", "verify", "--full-scan", os.path.join(node.dir, "data")],
                              capture_output=True, text=True, timeout=60, check=False)
        equal(done.returncode, 0, done.stdout + done.stderr)


def a_second_sigterm_ends_at_once():
    with Cluster(active=1) as c:
        node = c.start().wait_ready().active[0]
        load = subprocess.Popen([os.path.join(BIN, "leeward-bench"), "put", "--endpoints", node.client, "--inflight", "2000",
                                 "--total", "100000000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        try:
            wait_for("load", lambda: page(node)("keys") > 100)
            node.process.send_signal(signal.SIGTERM)
            wait_for("the first one to be taken: two in one moment are one", lambda: taken(node))
            started = time.monotonic()
            node.process.send_signal(signal.SIGTERM)
            ended = node.process.wait(timeout=60)
            expect(ended in (0, -signal.SIGTERM) and time.monotonic() - started < 10, f"exit {ended}")
        finally:
            load.kill()
            load.wait()


def taken(node):
    """SIGTERM: its default action stands again, or the process has ended by it."""
    if node.process.poll() is not None:
        return True
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as status:
        blocked = int(next(line for line in status if line.startswith("SigBlk")).split()[1], 16)
    return not blocked >> signal.SIGTERM - 1 & 1


def the_next_process_tells_how_the_last_one_ended():
    with Cluster(active=1) as c:
        node = c.active[0]
        def last(reason):
            metrics = page(node)
            return metrics("previous_exit_timestamp_seconds", reason=reason)
        def count(reason):
            return page(node)("abnormal_exits_total", reason=reason)
        node.start()
        c.wait_ready()
        equal([last(r) for r in ("clean", "signal", "unknown")], [0, 0, 0])
        equal(node.kill(signal.SIGTERM), 0)
        node.start()
        c.wait_ready()
        expect(abs(last("clean") - time.time()) < 300, "the time of a clean end")
        equal((count("signal"), count("unknown")), (0, 0))
        node.kill(signal.SIGKILL)
        node.start()
        c.wait_ready()
        equal((count("signal"), count("unknown")), (0, 1))
        node.kill(signal.SIGSEGV)
        equal(node.process.returncode, -signal.SIGSEGV, "the signal still ends the process")
        node.start()
        c.wait_ready()
        equal((count("signal"), count("unknown"), page(node)("assertion_failures_total")), (1, 1, 0))
        expect(abs(last("signal") - time.time()) < 300, "the time of the crash")


def log_lines_carry_node_region_and_epoch():
    with Cluster(active=1) as c:
        node = c.start().wait_ready().active[0]
        node.process.send_signal(signal.SIGUSR1)
        wait_for("the line", lambda: "the flight recorder was dumped" in node.log_text())
        def told():  # a line may be read half written
            with open(os.path.join(node.dir, "log"), encoding="utf-8") as handle:
                return next(line for line in map(json.loads, handle) if line["msg"] == "the flight recorder was dumped")
        line = wait_for("a whole line", told)
        equal(list(line)[:6], ["ts", "level", "msg", "node", "region", "epoch"])
        equal((line["level"], line["node"], line["region"], line["epoch"]), ("info", 1, "east", 1))


def a_stop_while_large_answers_are_made_is_a_clean_one():
    """Their clients' loop comes to the stop late; nothing that it uses may be gone by then."""
    with Cluster(active=1) as c:
        node = c.start().wait_ready().active[0]
        bench("put", "--endpoints", node.client, "--inflight", 100, "--total", 30000, "--keys", 30000, "--value-size", 400)
        def ask_for_all():
            try:
                while True:  # under way whenever it is looked
                    node.post("/v3/kv/range", {"key": b64("\0"), "range_end": b64("\0"), "serializable": True}, timeout=60)
            except (OSError, Failure, http.client.HTTPException):
                pass  # the node stops
        readers = [threading.Thread(target=ask_for_all) for _ in range(20)]
        for reader in readers:
            reader.start()
        wait_for("the calls", lambda: page(node)("rpc_in_flight") > 10)
        equal(node.kill(signal.SIGTERM), 0, "exit code")
        for reader in readers:
            reader.join()
        node.start()
        c.wait_ready()
        equal([page(node)("abnormal_exits_total", reason=reason) for reason in ("signal", "unknown")], [0, 0], "abnormal ends")
