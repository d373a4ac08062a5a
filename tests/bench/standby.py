#!/usr/bin/env python3
"""What the second region costs the first: the same load on one cluster while
its standbys follow, are stopped (SIGSTOP), and are killed, in turn.

usage: tests/bench/standby.py [--repeat N] [--total N]

Standbys of this benchmark share the machine's processors, so `following` pays
for their CPU; `stopped` beside `killed` shows that nothing waits for them.
"""
import argparse
import os
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from leeward.cluster import Cluster, bench, wait_for  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--total", type=int, default=20000)
    options = parser.parse_args()
    results = {"following": [], "stopped": [], "killed": []}
    with Cluster(active=3, standby=3) as cluster:
        cluster.start().wait_ready()
        leader = cluster.leader().client
        bench("put", "--endpoints", leader, "--inflight", 100, "--total", 5000)

        def run(state):
            report = bench("put", "--endpoints", leader, "--inflight", 100, "--connections", 4, "--total", options.total)
            results[state].append(report)
            print(f"{state}: {report['per_second']:.0f}/s p50 {report['p50_ms']:.2f} ms p99 {report['p99_ms']:.2f} ms",
                  file=sys.stderr)

        for _ in range(options.repeat):
            run("following")
            for node in cluster.standby:
                node.process.send_signal(signal.SIGSTOP)
            time.sleep(1)  # so that windows towards them are full when the load begins
            run("stopped")
            for node in cluster.standby:
                node.process.send_signal(signal.SIGCONT)
                node.kill()
            time.sleep(1)
            run("killed")
            for node in cluster.standby:
                node.start()
            cluster.wait_ready(cluster.standby, timeout=120)
            wait_for("the standbys to follow", lambda: all(n.ok("/standby?max_lag=5s") for n in cluster.standby), 120)
    median = {s: {k: statistics.median(r[k] for r in runs) for k in ("per_second", "p50_ms", "p99_ms")}
              for s, runs in results.items()}
    base = median["killed"]
    print("| standbys | puts/s | p50 ms | p99 ms | p50 beside killed |\n|---|---|---|---|---|")
    for state, m in median.items():
        print(f"| {state} | {m['per_second']:,.0f} | {m['p50_ms']:.2f} | {m['p99_ms']:.2f} | "
              f"{m['p50_ms'] / base['p50_ms']:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
