#!/usr/bin/env python3
"""What traces cost: the same puts at clusters that differ in tracing alone, in
turn, many times over.

usage: tests/bench/tracing.py [--repeat N] [--puts N] [--inflight N] [--sets NAME,...]

Sets: off; one percent, all; and one percent with a collector that is dead
(refuses connections) or hangs (accepts and says nothing). Throughput, and user
and system time of all three nodes by put; each as a ratio to what was measured
right before it with traces off. Data lies in memory: what is asked for is CPU.
"""
import argparse
import os
import socket
import statistics
import sys
import tempfile
import threading
import http.server

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from leeward.cluster import Cluster, bench  # noqa: E402

SETS = ("off", "one percent", "all", "dead collector", "hanging collector")
TICK = os.sysconf("SC_CLK_TCK")


class Taker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):  # noqa: N802
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def settings(name, urls):
    if name == "off":
        return {}
    ratio = 1.0 if name == "all" else 0.01
    return {"telemetry": {"otlp_endpoint": urls.get(name, urls["taker"]), "sample_ratio": ratio, "otlp_timeout": "2s"}}


def cpu(cluster):
    total = 0
    for node in cluster.active:
        fields = open(f"/proc/{node.process.pid}/stat", encoding="utf-8").read().rsplit(") ", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def measure(cluster, puts, inflight):
    before = cpu(cluster)
    report = bench("put", "--endpoints", cluster.leader().client, "--inflight", inflight, "--total", puts, "--keys", 10000, timeout=600)
    return report["per_second"], (cpu(cluster) - before) / puts * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--puts", type=int, default=40000)
    parser.add_argument("--inflight", type=int, default=100)
    parser.add_argument("--sets", default=",".join(SETS))
    args = parser.parse_args()
    names = ["off"] + [n for n in args.sets.split(",") if n != "off"]
    taker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    taker.daemon_threads = True
    threading.Thread(target=taker.serve_forever, daemon=True).start()
    hanging, dead = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    url = lambda s: "http://%s:%d" % s.getsockname()[:2]
    urls = {"taker": url(taker.socket), "hanging collector": url(hanging), "dead collector": url(dead)}
    dead.close()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    figures = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=memory) as place:
        clusters = {}
        try:
            for name in names:
                clusters[name] = Cluster(3, directory=os.path.join(place, name.replace(" ", "-")), settings=settings(name, urls))
                clusters[name].start()
            for cluster in clusters.values():
                cluster.wait_ready()
                measure(cluster, args.puts // 4, args.inflight)
            for _ in range(args.repeat):
                for name in names[1:]:
                    base, there = measure(clusters["off"], args.puts, args.inflight), measure(clusters[name], args.puts, args.inflight)
                    figures["off"].append(base)
                    figures[name].append((*there, there[0] / base[0], there[1] / base[1]))
        finally:
            for cluster in clusters.values():
                cluster.stop()
    middle = lambda rows, i: statistics.median(row[i] for row in rows)
    print(f"| traces | puts/s | CPU us a put | puts/s, ratio to off | CPU, ratio to off |\n|---|---|---|---|---|\n"
          f"| off | {middle(figures['off'], 0):,.0f} | {middle(figures['off'], 1):.1f} | 1 | 1 |")
    for name in names[1:]:
        rows = figures[name]
        print(f"| {name} | {middle(rows, 0):,.0f} | {middle(rows, 1):.1f} | {middle(rows, 2):.3f} | {middle(rows, 3):.3f} |")


if __name__ == "__main__":
    main()
