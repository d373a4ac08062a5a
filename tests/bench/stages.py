#!/usr/bin/env python3
"""Where the CPU of an operation goes: three nodes under one workload, CPU time
by thread at the leader and at its followers, per operation.

usage: tests/bench/stages.py [--only NAME,...] [--repeat N] [--perf DIR] [--set SECTION.KEY=VALUE ...]

CPU time comes from the kernel's account of each thread, so it holds on a busy
machine too. --perf DIR writes a profile of each node (`perf` must be there).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from leeward.cluster import Cluster, bench  # noqa: E402

WORKLOADS = {
    "put-1": ["put", "--inflight", 1, "--total", 1000],
    "put-100": ["put", "--inflight", 100, "--connections", 4, "--total", 20000],
    "put-1000": ["put", "--inflight", 1000, "--connections", 20, "--total", 40000],
    "txn-100": ["txn", "--inflight", 100, "--connections", 4, "--total", 10000],
    "range": ["get", "--inflight", 100, "--connections", 4, "--total", 40000],
}


def threads(pid):
    """Seconds of CPU by thread name; RocksDB's pool and the like fall together."""
    spent = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as handle:
                seconds = int(handle.read().split()[0]) / 1e9
            with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as handle:
                name = handle.read().strip()
        except OSError:
            continue  # a thread that has ended
        name = name.split(":")[0]
        spent[name] = spent.get(name, 0.0) + seconds
    return spent


def measure(cluster, args, perf):
    leader = cluster.leader()
    order = [leader] + [n for n in cluster.active if n is not leader]
    recorders = []
    if perf:
        os.makedirs(perf, exist_ok=True)
        for role, node in zip(("leader", "follower"), order):
            recorders.append(subprocess.Popen(
                ["perf", "record", "-q", "-F", "999", "-g", "--call-graph", "fp", "-o", os.path.join(perf, role + ".data"),
                 "-p", str(node.process.pid)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(0.5)
    before = [threads(n.process.pid) for n in order]
    report = bench(*args, "--endpoints", leader.client, timeout=600)
    after = [threads(n.process.pid) for n in order]
    for recorder in recorders:
        recorder.terminate()
        recorder.wait()
    roles = {"leader": {}, "follower": {}}
    for i, (a, b) in enumerate(zip(before, after)):
        role, share = ("leader", 1) if i == 0 else ("follower", len(order) - 1)
        for name, seconds in b.items():
            us = 1e6 * (seconds - a.get(name, 0.0)) / max(1, report["done"]) / share
            roles[role][name] = roles[role].get(name, 0.0) + us
    return report, roles


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="put-100,put-1000,txn-100,range")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--perf", default="")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    settings = {}
    for item in options.settings:
        key, value = item.split("=", 1)
        section, key = key.rsplit(".", 1)
        settings.setdefault(section, {})[key] = json.loads(value)
    print("| workload | node | CPU us per operation | by thread |\n|---|---|---|---|")
    with Cluster(active=3, settings=settings) as cluster:
        cluster.start().wait_ready()
        bench("put", "--inflight", 500, "--connections", 4, "--total", 20000, "--endpoints", cluster.leader().client)
        for name in options.only.split(","):
            runs = [measure(cluster, WORKLOADS[name], os.path.join(options.perf, name) if options.perf else "")
                    for _ in range(options.repeat)]
            total = 0.0
            for role in ("leader", "follower"):
                names = sorted({n for _, r in runs for n in r[role]})
                median = {n: statistics.median(r[role].get(n, 0.0) for _, r in runs) for n in names}
                everything = statistics.median(sum(r[role].values()) for _, r in runs)
                total += everything * (1 if role == "leader" else 2)
                parts = ", ".join(f"{n.removeprefix('leeward-')} {us:.1f}"
                                  for n, us in sorted(median.items(), key=lambda p: -p[1]) if us >= 0.05)
                print(f"| {name} | {role} | {everything:.1f} | {parts} |")
            figures = [r for r, _ in runs]
            mid = lambda key: statistics.median(r[key] for r in figures)
            print(f"| {name} | all three | {total:.1f} | {mid('per_second'):,.0f} per second, p50 {mid('p50_ms'):.2f} ms, "
                  f"p99 {mid('p99_ms'):.2f} ms, max {max(r['max_ms'] for r in figures):.1f} ms, "
                  f"errors {sum(r['errors'] for r in figures)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
