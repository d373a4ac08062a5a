#!/usr/bin/env python3
"""What the second region costs the first: the same load on one cluster while
its standbys follow, hang behind a slow link, are cut off, stopped (SIGSTOP)
and killed, in turn.

usage: tests/bench/standby.py [--repeat N] [--seconds S] [--rate N]

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
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "relay")]
from leeward.cluster import Cluster, Node, bench, wait_for  # noqa: E402
from relay import Relay  # noqa: E402

SLOW_LINK = 50_000  # bytes a second: a third of what the load writes


class FarNode(Node):
    """Sees the members of the other region at the relay's addresses."""

    def config(self):
        text = super().config()
        for node in self.cluster.nodes:
            if node.standby != self.standby:
                text = text.replace(f'peer = "{node.peer}", client', f'peer = "{node.host}:7380", client')
        return text


def apply(state, cluster, relay):
    if state == "slow":
        relay.tell(f"* rate {SLOW_LINK}")
    elif state == "cut off":
        relay.tell("* cut both")
    elif state == "stopped":
        for node in cluster.standby:
            node.process.send_signal(signal.SIGSTOP)
    elif state == "killed":
        for node in cluster.standby:
            node.kill()


def undo(state, cluster, relay):
    if state == "slow":
        relay.tell("* rate 0")
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
    options = parser.parse_args()
    states = ["following", "slow", "cut off", "stopped", "killed"]
    results = {state: [] for state in states}
    cluster = Cluster(active=3, standby=3)
    for node in cluster.nodes:
        node.__class__ = FarNode
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="leeward-") as memory, Relay({n.name: (f"{n.host}:7380", n.peer) for n in cluster.nodes}) as relay, cluster:
        for node in cluster.standby:
            node.dir = os.path.join(memory, node.name)
        cluster.start().wait_ready(timeout=60)
        leader = cluster.leader().client
        bench("put", "--endpoints", leader, "--inflight", 100, "--total", 2000)
        undo("following", cluster, relay)
        for turn in range(options.repeat):
            for state in states if turn % 2 == 0 else states[::-1]:
                apply(state, cluster, relay)
                time.sleep(1)  # so that windows towards them are full when the load begins
                before = cpu_seconds(cluster.active)
                report = bench("steady", "--endpoints", leader, "--rate", options.rate, "--seconds", options.seconds,
                               "--inflight", 5000, "--connections", 4)
                report["cpu_us"] = 1e6 * (cpu_seconds(cluster.active) - before) / max(1, report["done"])
                results[state].append(report)
                print(f"{turn + 1}/{options.repeat} {state}: {report['per_second']:.0f}/s p50 {report['p50_ms']:.2f} ms "
                      f"p99 {report['p99_ms']:.2f} ms, {report['errors']} errors", file=sys.stderr)
                undo(state, cluster, relay)
    figures = ("per_second", "p50_ms", "p99_ms", "cpu_us")
    median = {s: {k: statistics.median(r[k] for r in runs) for k in figures} for s, runs in results.items()}
    base = median["killed"]
    print("| standbys | puts/s | p50 ms | p99 ms | primaries' CPU us a put | p50 beside killed | errors |\n"
          "|---|---|---|---|---|---|---|")
    for state, m in median.items():
        print(f"| {state} | {m['per_second']:,.0f} | {m['p50_ms']:.2f} | {m['p99_ms']:.2f} | {m['cpu_us']:.1f} | "
              f"{m['p50_ms'] / base['p50_ms']:.2f} | {sum(r['errors'] for r in results[state])} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
