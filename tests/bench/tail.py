#!/usr/bin/env python3
"""Latency of single writes while checkpoints are made: an open loop of puts at
a fixed rate, and how many of them took how long.

usage: tests/bench/tail.py [--rate N] [--seconds S] [--interval WRITES] [--keys N] [--preload N]

An open loop does not slow down with the server, so a pause is seen by every
write that was due in it. `--interval` is [storage] checkpoint_interval, small
here so that many checkpoints fall into one run.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from leeward.cluster import Cluster, bench  # noqa: E402

BOUNDS_MS = [2, 5, 10, 20, 50, 100, 200, 500, 1000]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--interval", type=int, default=5000)
    parser.add_argument("--keys", type=int, default=20000)
    parser.add_argument("--preload", type=int, default=100000)
    o = parser.parse_args()
    with Cluster(active=3, settings={"storage": {"checkpoint_interval": o.interval}}) as cluster:
        cluster.start().wait_ready()
        leader = cluster.leader()
        bench("put", "--endpoints", leader.client, "--inflight", 500, "--connections", 4, "--total", o.preload, "--keys",
              o.keys, "--value-size", 512)
        made = lambda: sum(n.log_text().count("made a checkpoint") for n in cluster.active)
        before, record = made(), os.path.join(cluster.dir, "record")
        report = bench("steady", "--endpoints", leader.client, "--rate", o.rate, "--seconds", o.seconds, "--inflight", 5000,
                       "--connections", 4, "--keys", o.keys, "--record", record)
        checkpoints = made() - before
        took = []
        with open(record, encoding="utf-8") as lines:
            for line in lines:
                fields = line.split("\t")
                took.append((int(fields[1]) - int(fields[0])) / 1e6)
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(share * len(took)))]
    print(f"{len(took)} puts, {report['errors']} errors, {checkpoints} checkpoints on three nodes")
    print(f"p50 {at(.5):.2f} ms, p90 {at(.9):.2f}, p99 {at(.99):.2f}, p99.9 {at(.999):.2f}, max {took[-1]:.2f}")
    low, counted = 0, 0
    for bound in BOUNDS_MS + [float("inf")]:
        upto = sum(t < bound for t in took)
        print(f"{low:>5} to {bound:>5} ms {upto - counted:>8}")
        low, counted = bound, upto
    return 0


if __name__ == "__main__":
    sys.exit(main())
