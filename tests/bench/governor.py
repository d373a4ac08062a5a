#!/usr/bin/env python3
"""How the RPO governor brings the standby region's lag to its budget: one load,
more than the link between the regions carries, under each dr.rpo_policy; the
link becomes narrower, wider again and is cut meanwhile.

usage: tests/bench/governor.py [--policies NAME,...] [--budget MS] [--svg FILE] [--scale S]

The regions speak through a relay of limited bandwidth. Draws the lag over time
as an SVG and prints a table of each phase.
"""
import argparse
import os
import statistics
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "relay")]
from leeward.cluster import Cluster, FarNode, Failure, bench, wait_for  # noqa: E402
from relay import Relay  # noqa: E402

MEASURED = 0.1  # seconds between two readings
WIDE, NARROW, FAST = 250_000, 80_000, 8_000_000  # bytes a second; the load writes about 240,000
# Name, seconds, what the link is told at its begin, the last seconds that are judged.
PHASES = (("wide", 20, [f"* rate {WIDE}"], 12), ("narrow", 25, [f"* rate {NARROW}"], 12), ("wide again", 15, [f"* rate {WIDE}"], 8),
          ("cut", 15, ["* cut both"], 8), ("back, fast", 20, ["* heal", f"* rate {FAST}"], 8))
COLOURS = {"alert": "#888888", "throttle": "#1f6fb4", "refuse": "#c4542b"}


def metrics(node):
    values = {}
    for line in node.get("/metrics")[1].splitlines():
        if line.startswith("leeward_") and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            values[name[len("leeward_"):]] = float(value)
    return values


def run(policy, options):
    """[(seconds, phase, lag, committed writes, held seconds, refused writes)], and what the load generator says."""
    cluster = Cluster(active=3, standby=3, settings={"dr": {"rpo_policy": policy, "rpo_budget": f"{options.budget}ms",
                                                            "compression": "off"}})
    for node in cluster.nodes:
        node.__class__ = FarNode
    relayed = {n.name: (f"{n.host}:7380", n.peer) for n in cluster.nodes}
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="leeward-") as memory, \
            Relay(relayed, delay="20ms") as relay, cluster:
        for node in cluster.nodes:
            node.dir = os.path.join(memory, node.name)
        cluster.start().wait_ready(timeout=60)
        leader = cluster.leader()
        wait_for("the standby region to be armed", lambda: metrics(leader)["dr_armed"] == 1)
        total = sum(phase[1] for phase in PHASES) * options.scale
        relay.tell(PHASES[0][2][0])  # before the load, which would fill a link without a limit
        report = {}

        def load():
            report.update(bench("steady", "--endpoints", leader.client, "--rate", options.rate, "--seconds", int(total) + 1,
                                "--inflight", options.inflight, "--connections", 4, timeout=600))

        loader = threading.Thread(target=load, daemon=True)
        loader.start()
        begun, samples, until = time.monotonic(), [], 0.0
        for name, seconds, commands, _ in PHASES:
            for command in commands:
                relay.tell(command)
            until += seconds * options.scale
            while (now := time.monotonic() - begun) < until:
                m = metrics(leader)
                samples.append((now, name, m['source_lag_seconds{standby="set"}'], m['proposals_total{result="committed"}'],
                                m["dr_throttle_seconds_total"], m["dr_refused_writes_total"]))
                time.sleep(max(0.0, MEASURED - (time.monotonic() - begun - now)))
        loader.join(timeout=60)
        return samples, report


def svg(results, options):
    width, height, left, bottom, top = 900, 360, 60, 40, 30
    budget = options.budget / 1000
    most = 6 * budget
    total = sum(phase[1] for phase in PHASES) * options.scale
    x = lambda s: left + (width - left - 10) * s / total
    y = lambda lag: height - bottom - (height - bottom - top) * min(lag, most) / most
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    at = 0.0
    for i, (name, seconds, _, _) in enumerate(PHASES):
        if i % 2 == 1:
            out.append(f'<rect x="{x(at):.1f}" y="{top}" width="{x(at + seconds * options.scale) - x(at):.1f}" '
                       f'height="{height - bottom - top}" fill="#f2f2f2"/>')
        out.append(f'<text x="{x(at) + 4:.1f}" y="{top + 14}" fill="#555">link: {name}</text>')
        at += seconds * options.scale
    for step in range(7):
        lag = most * step / 6
        out.append(f'<line x1="{left}" x2="{width - 10}" y1="{y(lag):.1f}" y2="{y(lag):.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{y(lag) + 4:.1f}" text-anchor="end">{lag:.1f} s</text>')
    out.append(f'<line x1="{left}" x2="{width - 10}" y1="{y(budget):.1f}" y2="{y(budget):.1f}" stroke="black" stroke-dasharray="5 4"/>'
               f'<text x="{width - 14}" y="{y(budget) - 4:.1f}" text-anchor="end">dr.rpo_budget</text>')
    for s in range(0, int(total) + 1, 10):
        out.append(f'<text x="{x(s):.1f}" y="{height - bottom + 16}" text-anchor="middle">{s}</text>')
    out.append(f'<text x="{(left + width) / 2}" y="{height - 6}" text-anchor="middle">seconds</text>'
               f'<text x="8" y="18">lag of the armed region, high bound at the leader</text>')
    for i, (policy, (samples, _)) in enumerate(results.items()):
        points = " ".join(f"{x(s[0]):.1f},{y(s[2]):.1f}" for s in samples)
        out.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[policy]}" stroke-width="1.5"/>'
                   f'<text x="{width - 260 + 80 * i}" y="18" fill="{COLOURS[policy]}">{policy}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", default="alert,throttle,refuse", help="separated by commas")
    parser.add_argument("--budget", type=int, default=1000, help="milliseconds")
    parser.add_argument("--rate", type=int, default=2500, help="writes a second that are asked for")
    parser.add_argument("--inflight", type=int, default=1000)
    parser.add_argument("--scale", type=float, default=1.0, help="of the phases' length")
    parser.add_argument("--svg", default="")
    options = parser.parse_args()
    policies = options.policies.split(",")
    if unknown := [p for p in policies if p not in COLOURS]:
        parser.error(f"no policy {', '.join(unknown)}; there are {', '.join(COLOURS)}")
    results = {}
    print("| policy | link | lag s: least | median | most | within 10 % of the budget after | writes/s | time held | refused/s |\n"
          "|---|---|---|---|---|---|---|---|---|")
    budget = options.budget / 1000
    for policy in policies:
        samples, report = results[policy] = run(policy, options)
        for name, seconds, _, judged in PHASES:
            phase = [s for s in samples if s[1] == name]
            last = [s for s in phase if s[0] >= phase[-1][0] - judged * options.scale]
            late = [s[0] for s in phase if s[2] > 1.1 * budget]
            settled = f"{late[-1] - phase[0][0]:.1f} s" if late and late[-1] < last[0][0] else "never" if late else "at once"
            span = last[-1][0] - last[0][0]
            rate = lambda column: (last[-1][column] - last[0][column]) / span
            lags = [s[2] for s in last]
            print(f"| {policy} | {name} | {min(lags):.2f} | {statistics.median(lags):.2f} | {max(lags):.2f} | {settled} | {rate(3):,.0f} | "
                  f"{100 * rate(4):.0f} % | {rate(5):,.0f} |")
        print(f"{policy}: p50 {report.get('p50_ms', 0):.0f} ms, p99 {report.get('p99_ms', 0):.0f} ms, "
              f"{report.get('done')} done, {report.get('errors')} errors", file=sys.stderr)
    if options.svg:
        with open(options.svg, "w", encoding="utf-8") as handle:
            handle.write(svg(results, options))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"governor.py: {failure}")
