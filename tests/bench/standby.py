#!/usr/bin/env python3
"""What the second region costs the first: the same load on one cluster while
its standbys follow, hang behind a slow link, run on a slow machine, are cut
off, stopped (SIGSTOP) and killed, in turn.

usage: tests/bench/standby.py [--repeat N] [--seconds S] [--rate N] [--states NAME,...]

The regions speak through a relay. Standbys of this benchmark share the
machine's processors, so the rate is far below what they could give: then
latency shows whether anything waits. Their data lies in memory, for the disk
is not what is shared by two regions either.
"""
import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "relay")]
from leeward.cluster import Cluster, FarNode, Failure, bench, wait_for  # noqa: E402
from relay import Relay  # noqa: E402

STATES = ("following", "slow link", "slow machine", "cut off", "stopped", "killed")
SLOW_LINK = 50_000  # bytes a second: a third of what the load writes
FAR = "100ms"  # one way, on the slow link
# Of a slow machine: too little for what the load asks of a standby, in slices
# far below an election timeout, so that its group stays together.
RUNS, STANDS = 0.002, 0.198  # seconds


class SlowMachine:
    """All standbys stand still but for a hundredth of the time, until stop()."""

    def __init__(self, nodes):
        self.nodes, self.over = nodes, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)  # a benchmark that fails must end
        self.thread.start()

    def work(self):
        while not self.over.is_set():
            for signal_number, seconds in ((signal.SIGSTOP, STANDS), (signal.SIGCONT, RUNS)):
                for node in self.nodes:
                    node.process.send_signal(signal_number)
                time.sleep(seconds)

    def stop(self):
        self.over.set()
        self.thread.join()  # it ends with SIGCONT


def apply(state, cluster, relay):
    """Puts the standbys into this state; returns what must be stopped to end it."""
    if state == "slow link":
        relay.tell(f"* delay {FAR}")
        relay.tell(f"* rate {SLOW_LINK}")
    elif state == "slow machine":
        return SlowMachine(cluster.standby)
    elif state == "cut off":
        relay.tell("* cut both")
    elif state == "stopped":
        for node in cluster.standby:
            node.process.send_signal(signal.SIGSTOP)
    elif state == "killed":
        for node in cluster.standby:
            node.kill()
    return None


def undo(state, cluster, relay, ends=None):
    if ends:
        ends.stop()
    if state == "slow link":
        relay.tell("* rate 0")
        relay.tell("* delay 0ms")
    elif state == "cut off":
        relay.tell("* heal")
    elif state == "stopped":
        for node in cluster.standby:
            node.process.send_signal(signal.SIGCONT)
    elif state == "killed":
        for node in cluster.standby:
            node.start()
    cluster.wait_ready(cluster.standby, timeout=120)
    wait_for("the standbys to follow", lambda: all(n.ok("/standby?max_lag=5s") for n in cluster.standby), 120)


def entries_behind(leader):
    """How far the primary knows its last standby to be behind; None: it does not."""
    try:
        known = [int(s["lag_entries"]) for s in leader.post("/v3/standby/status")["standbys"] if "lag_entries" in s]
    except (OSError, Failure, KeyError):
        return None
    return max(known, default=None)


def cpu_seconds(nodes):
    total = 0
    for node in nodes:
        with open(f"/proc/{node.process.pid}/stat", encoding="ascii") as handle:
            fields = handle.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rate", type=int, default=500, help="writes a second")
    parser.add_argument("--states", default=",".join(STATES), help="separated by commas")
    options = parser.parse_args()
    states = options.states.split(",")
    if unknown := [s for s in states if s not in STATES]:
        parser.error(f"no state {', '.join(unknown)}; there are {', '.join(STATES)}")
    results = {state: [] for state in states}
    cluster = Cluster(active=3, standby=3)
    for node in cluster.nodes:
        node.__class__ = FarNode
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="leeward-") as memory, Relay({n.name: (f"{n.host}:7380", n.peer) for n in cluster.nodes}) as relay, cluster:
        for node in cluster.standby:
            node.dir = os.path.join(memory, node.name)
        cluster.start().wait_ready(timeout=60)
        leading = cluster.leader()
        leader = leading.client
        bench("put", "--endpoints", leader, "--inflight", 100, "--total", 2000)
        undo("following", cluster, relay)
        for turn in range(options.repeat):
            for state in states if turn % 2 == 0 else states[::-1]:
                ends = apply(state, cluster, relay)
                time.sleep(1)  # so that windows towards them are full when the load begins
                before = cpu_seconds(cluster.active)
                report = bench("steady", "--endpoints", leader, "--rate", options.rate, "--seconds", options.seconds,
                               "--inflight", 5000, "--connections", 4)
                report["cpu_us"] = 1e6 * (cpu_seconds(cluster.active) - before) / max(1, report["done"])
                report["behind"] = entries_behind(leading)
                results[state].append(report)
                print(f"{turn + 1}/{options.repeat} {state}: {report['per_second']:.0f}/s p50 {report['p50_ms']:.2f} ms "
                      f"p99 {report['p99_ms']:.2f} ms, {report['errors']} errors, {report['behind']} entries behind", file=sys.stderr)
                undo(state, cluster, relay, ends)
    figures = ("per_second", "p50_ms", "p99_ms", "cpu_us")
    median = {s: {k: statistics.median(r[k] for r in runs) for k in figures} for s, runs in results.items()}
    base = median.get("killed")
    print("| standbys | puts/s | p50 ms | p99 ms | primaries' CPU us a put | p50 beside killed | errors | entries behind at the end |\n"
          "|---|---|---|---|---|---|---|---|")
    for state, m in median.items():
        beside = f"{m['p50_ms'] / base['p50_ms']:.2f}" if base else ""
        behind = [r["behind"] for r in results[state] if r["behind"] is not None]
        print(f"| {state} | {m['per_second']:,.0f} | {m['p50_ms']:.2f} | {m['p99_ms']:.2f} | {m['cpu_us']:.1f} | "
              f"{beside} | {sum(r['errors'] for r in results[state])} | "
              f"{f'{statistics.median(behind):,.0f}' if behind else 'not known'} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
