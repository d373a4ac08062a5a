"""Drills of the promotion at a standby of two real regions: leewardctl dr drill."""
import contextlib
import hashlib
import json
import os
import signal
import threading
import time

from leeward.claims import equal, expect, metric
from leeward.cluster import Cluster, Failure, bench, ctl, wait_for

SMALL = {"storage": {"segment_size": "1MiB", "checkpoint_interval": 2000, "rocksdb": {"write_buffer": "1MiB"}},
         "raft": {"max_batch_bytes": "256KiB"}}
STEPS = ["fork", "log", "state_files", "apply", "state", "promote", "write", "read", "sample", "hash", "follow"]


def drill(node, *args):
    def asked():
        done = ctl("--endpoints", node.client, "-o", "json", "dr", "drill", "--id", node.id, *args, check=False, timeout=120)
        return done if "changing: " not in done.stderr else None
    done = wait_for("the members to stay as they are", asked)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr


def standby_to_ask(c):
    """One that leads nothing."""
    wait_for("the region to be armed", lambda: ctl_json(c.active[0], "dr", "status")["armed_region"] == "west", 30)
    return wait_for("a standby that follows its leader",
                    lambda: next((n for n in c.standby if own(n)["state"] == "follower"), None))


def ctl_json(node, *args):
    return json.loads(ctl("--endpoints", node.client, "-o", "json", *args).stdout)


def own(node):
    return next(m for m in node.status()["members"] if int(m["id"]) == node.id)


def forks(node):
    data = os.path.join(node.dir, "data")
    return [p for p in (os.path.join(data, "drill"), os.path.join(data, "wal", "drill-log")) if os.path.exists(p)]


def rehearsing(node):
    """The processes that rehearse on this node's fork."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as handle:
                words = handle.read().split(b"\0")
        except OSError:
            continue
        if b"--rehearse" in words and any(w.startswith(node.dir.encode()) for w in words):
            found.append(int(pid))
    return found


def digest(path):
    with open(path, "rb") as handle:
        return hashlib.sha256(handle.read()).hexdigest()


def sealed(node):
    """Segments that are not written any more, by name."""
    wal = os.path.join(node.dir, "data", "wal")
    found = {}
    for name in sorted(n for n in os.listdir(wal) if n.startswith("log-"))[:-1]:
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            found[name] = digest(os.path.join(wal, name))
    return found


def in_step(c):
    def equal_hashes():
        return len({(m["state_hash_index"], m["state_hash"]) for m in map(own, c.nodes)}) == 1
    wait_for("equal state hashes on all nodes", equal_hashes, 60)


class Load:
    """Puts through the primary region until it is left."""

    def __init__(self, c):
        self.c, self.over, self.puts = c, False, 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over:
            self.puts += bench("put", "--endpoints", self.c.endpoints, "--inflight", 20, "--total", 2000, "--keys", 500,
                               "--value-size", 300).get("ok", 2000)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


class Watch:
    """What is seen of a drill from outside while it runs."""

    def __init__(self, c, node):
        self.c, self.node, self.over = c, node, False
        self.sockets, self.members, self.pids, self.environment = set(), set(), set(), set()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over:
            for pid in rehearsing(self.node):
                self.pids.add(pid)
                try:
                    for fd in os.listdir(f"/proc/{pid}/fd"):
                        target = os.readlink(f"/proc/{pid}/fd/{fd}")
                        if target.startswith("socket:"):
                            self.sockets.add(target)
                    with open(f"/proc/{pid}/environ", "rb") as handle:
                        self.environment.add(handle.read())
                except OSError:
                    pass
            try:  # not for long: a rehearsal may take less
                told = self.c.active[0].post("/v3/cluster/status", timeout=0.2)
                self.members.add(tuple(sorted(int(m["id"]) for m in told["members"])))
            except (Failure, OSError):
                pass  # it was busy
            time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


def a_drill_passes_while_the_standby_follows_under_load():
    with Cluster(active=3, standby=3, settings=SMALL) as c:
        c.start().wait_ready()
        node = standby_to_ask(c)
        bench("put", "--endpoints", c.endpoints, "--inflight", 100, "--total", 20000, "--keys", 3000, "--value-size", 300)
        in_step(c)
        with Load(c) as load, Watch(c, node) as seen:
            wait_for("load", lambda: load.puts > 0, 30)
            before = wait_for("some sealed segments", lambda: s if len(s := sealed(node)) > 1 else None)  # old ones are released
            code, report, error = drill(node)
            after = sealed(node)
        equal(code, 0, f"{error} {report}; exit code")
        expect(report["passed"], str(report))
        equal([check["name"] for check in report["checks"]], STEPS)
        expect(all(check["ok"] and check["ms"] >= 0 for check in report["checks"]), str(report["checks"]))
        expect(300 <= report["rto_ms"] < 30000, f"rto {report['rto_ms']}")
        expect(0 < report["standby_lag_during_ms"] < 10000, f"lag {report['standby_lag_during_ms']}")
        equal((report["node_id"], report["region"], report["epoch"]), (str(node.id), "west", "2"))
        changed = [name for name in set(before) & set(after) if before[name] != after[name]]
        equal(changed, [], "segments that the fork has written to")
        equal(forks(node), [], "what is left of the fork")
        equal(rehearsing(node), [], "processes left")
        expect(seen.pids, "a process of its own was seen")
        equal(seen.sockets, set(), "sockets of that process")
        equal(seen.environment - {b""}, set(), "its environment")
        equal(seen.members, {(1, 2, 3, 11, 12, 13)}, "members, as the primary saw them")
        in_step(c)  # it followed on, and to the same state
        for other in c.nodes:
            expect("another lineage" not in other.log_text(), f"{other.name} was spoken to by the fork")
            equal(own(other)["role"], "standby" if other.standby else "primary", other.name)
        # A line of text for people, and the figures that dashboards stand on, equal at every node.
        def known():
            told = {(metric(n, "dr_last_drill_timestamp_seconds"), metric(n, "dr_last_drill_rto_seconds")) for n in c.nodes}
            return told if len(told) == 1 and 0 not in next(iter(told)) else None
        at, took = next(iter(wait_for("all nodes to know the drill", known)))
        expect(abs(at - time.time()) < 300, f"time of the drill: {at}")
        expect(abs(took * 1000 - report["rto_ms"]) < 1, f"rto {took} s")
        table = ctl("--endpoints", c.endpoints, "dr", "drill", timeout=120).stdout
        expect("passed" in table and "next" in table and "leewardctl dr plan" in table, table)
        for n in c.nodes:
            n.kill(signal.SIGKILL)
        c.start().wait_ready()
        wait_for("all to remember the second one after a restart", lambda: all(metric(n, "dr_last_drill_timestamp_seconds") > at for n in c.nodes))


def a_killed_node_removes_the_fork_at_its_next_start():
    with Cluster(active=3, standby=3, settings={**SMALL, "dr": {"self_fence": "lease", "lease": "8s"}}) as c:
        c.start().wait_ready()
        node = standby_to_ask(c)
        c.leader().put("a", "1")
        in_step(c)
        asked = threading.Thread(target=drill, args=(node,))
        asked.start()
        # Both are there for as long as the lease: longer than a machine stands still.
        pids = wait_for("the rehearsal", lambda: rehearsing(node))
        wait_for("both halves of the fork", lambda: len(forks(node)) == 2)
        node.kill(signal.SIGKILL)
        asked.join()
        wait_for("its process to end with the node", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
        equal(len(forks(node)), 2, "directories that the killed node left")
        node.start()
        c.wait_ready([node])
        equal(forks(node), [], "what the start left of the fork")
        c.leader().put("a", "2")
        wait_for("it to follow", lambda: node.value("a", serializable=True) == "2")
        code, report, error = drill(node)
        equal(code, 0, f"{error} {report}; exit code")
        expect(report["rto_ms"] >= 8000, f"the lease is part of it: {report['rto_ms']}")


def a_rehearsal_that_dies_is_a_failed_drill_and_nothing_else():
    # It waits for the lease: there is time to ask for another one and to kill it.
    with Cluster(active=3, standby=3, settings={**SMALL, "dr": {"self_fence": "lease", "lease": "15s"}}) as c:
        c.start().wait_ready()
        node = standby_to_ask(c)
        c.leader().put("a", "1")
        in_step(c)
        told = []
        asked = threading.Thread(target=lambda: told.append(drill(node)))
        asked.start()
        pid = wait_for("the rehearsal", lambda: rehearsing(node))[0]
        code, _, error = drill(node)
        expect(code == 3 and "under_way" in error, f"a second one: exit {code}: {error}")
        os.kill(pid, signal.SIGKILL)
        asked.join()
        code, report, error = told[0]
        equal(code, 1, f"{error} {report}; exit code")
        expect("'rehearsal'" in error and "signal 9" in error and len(error.strip().splitlines()) == 1, error)
        expect(not report["passed"] and "rto_ms" not in report, str(report))
        equal(forks(node), [], "what is left of the fork")
        expect(node.alive, "the node")
        c.leader().put("a", "2")
        wait_for("it to follow", lambda: node.value("a", serializable=True) == "2")
        equal(metric(node, "dr_last_drill_timestamp_seconds"), 0, "a failed drill is none")


def a_flipped_bit_in_the_log_fails_the_drill_at_its_check():
    with Cluster(active=3, standby=3, settings=SMALL) as c:
        c.start().wait_ready()
        node = standby_to_ask(c)
        bench("put", "--endpoints", c.endpoints, "--inflight", 100, "--total", 10000, "--keys", 3000, "--value-size", 300)
        in_step(c)
        name = sorted(wait_for("a sealed segment", lambda: sealed(node)))[-1]  # the first ones may yet be released
        path = os.path.join(node.dir, "data", "wal", name)
        with open(path, "r+b") as handle:
            handle.seek(5000)
            byte = handle.read(1)[0]
            handle.seek(5000)
            handle.write(bytes([byte ^ 4]))
        code, report, error = drill(node)
        equal(code, 1, f"{error} {report}; exit code")
        expect("'log'" in error and name in error, error)
        equal([check["name"] for check in report["checks"] if not check["ok"]], ["log"])
        equal(forks(node), [], "what is left of the fork")
        # At another standby it passes.
        other = next(n for n in c.standby if n is not node)
        code, report, error = drill(other)
        equal(code, 0, f"{error} {report}; exit code")


def a_drill_at_the_primary_is_refused_by_its_rule():
    with Cluster(active=3, standby=3) as c:
        c.start().wait_ready()
        code, _, error = drill(c.leader())
        equal(code, 3, error)
        expect("role:" in error and len(error.strip().splitlines()) == 1, error)


TESTS = [a_drill_passes_while_the_standby_follows_under_load, a_killed_node_removes_the_fork_at_its_next_start,
         a_rehearsal_that_dies_is_a_failed_drill_and_nothing_else, a_flipped_bit_in_the_log_fails_the_drill_at_its_check,
         a_drill_at_the_primary_is_refused_by_its_rule]
