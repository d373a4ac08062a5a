#!/usr/bin/env python3
"""Leeward beside etcd: three nodes each, same machine, same file system, same
loader, alternating workload by workload, fsync on in both.

usage: scripts/bench [--quick] [--only NAME,...] [--repeat N] [--json FILE] [--table FILE]

Prints a table with a ratio column (Leeward / etcd; for latency, CPU and memory
lower is better) and writes it with one JSON file. Without `etcd` on the PATH
(or in ETCD) only Leeward is measured.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from leeward.cluster import Cluster, bench, wait_for  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid):
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def reset_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as handle:
        handle.write("5")


def metric_sum(url, name):
    text = urllib.request.urlopen(url, timeout=5).read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith(name + " ") or line.startswith(name + "{"))


class Leeward:
    name = "leeward"

    def __init__(self, directory):
        # Both keep what they would in production: no compaction during the run.
        self.cluster = Cluster(active=3, directory=os.path.join(directory, "leeward"), net=201)
        self.cluster.start().wait_ready()

    def version(self):
        return "leeward " + json.loads(urllib.request.urlopen(
            f"http://{self.cluster.active[0].client}/version", timeout=5).read()).get("leeward", "")

    def leader(self):
        return self.cluster.leader().client

    def endpoints(self):
        return self.cluster.endpoints

    def pids(self):
        return [n.process.pid for n in self.cluster.nodes]

    def syncs(self):
        return sum(metric_sum(f"http://{n.metrics}/metrics", "leeward_wal_fsync_duration_seconds_count")
                   for n in self.cluster.nodes)

    def stop(self):
        self.cluster.stop()


class Etcd:
    name = "etcd"

    def __init__(self, directory, binary):
        self.binary = binary
        self.hosts = [f"127.202.1.{i}" for i in (1, 2, 3)]
        initial = ",".join(f"e{i}=http://{h}:2380" for i, h in enumerate(self.hosts))
        self.processes = []
        for i, host in enumerate(self.hosts):
            data = os.path.join(directory, f"etcd{i}")
            log = open(data + ".log", "wb")
            self.processes.append(subprocess.Popen(
                [binary, "--name", f"e{i}", "--data-dir", data, "--listen-client-urls", f"http://{host}:2379",
                 "--advertise-client-urls", f"http://{host}:2379", "--listen-peer-urls", f"http://{host}:2380",
                 "--initial-advertise-peer-urls", f"http://{host}:2380", "--initial-cluster", initial,
                 "--quota-backend-bytes", str(8 << 30), "--log-level", "error"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        wait_for("etcd", self.leader, 30)

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True,
                              check=True).stdout.splitlines()[0].replace("Version: ", "")

    def leader(self):
        for host in self.hosts:
            if metric_sum(f"http://{host}:2379/metrics", "etcd_server_is_leader") == 1:
                return f"{host}:2379"
        return None

    def endpoints(self):
        return ",".join(f"{h}:2379" for h in self.hosts)

    def pids(self):
        return [p.pid for p in self.processes]

    def syncs(self):
        return sum(metric_sum(f"http://{h}:2379/metrics", "etcd_disk_wal_fsync_duration_seconds_count")
                   for h in self.hosts)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


def workloads(quick):
    k = 1 if quick else 4
    return [
        ("put 256 B, 1 in flight", ["put", "--inflight", 1, "--total", 500 * k]),
        ("put 256 B, 100 in flight", ["put", "--inflight", 100, "--connections", 4, "--total", 10000 * k]),
        ("put 256 B, 1000 in flight", ["put", "--inflight", 1000, "--connections", 20, "--total", 20000 * k]),
        ("range one key, linearizable", ["get", "--inflight", 100, "--connections", 4, "--total", 20000 * k]),
        ("range one key, serializable", ["get", "--serializable", "--inflight", 100, "--connections", 4, "--total",
                                         20000 * k]),
        ("transaction, 100 in flight", ["txn", "--inflight", 100, "--connections", 4, "--total", 5000 * k]),
        ("watch, 100 watchers", ["watch", "--watchers", 100, "--connections", 4, "--inflight", 10, "--total",
                                 200 * k]),
        ("range 100,000 keys", ["range", "--prefix", "big/", "--total", 2 * k]),
    ]


def measure(system, args):
    pids = system.pids()
    for pid in pids:
        reset_peak(pid)
    cpu, syncs = [cpu_seconds(p) for p in pids], system.syncs()
    report = bench(*args, "--endpoints", system.leader(), timeout=600)
    spent = sum(cpu_seconds(p) - before for p, before in zip(pids, cpu))
    if report["errors"]:
        print(f"  {system.name}: {report['errors']} errors {report['stderr'][-200:]}", file=sys.stderr)
    return {"per_second": report["per_second"], "p50_ms": report["p50_ms"], "p99_ms": report["p99_ms"],
            "cpu_us_per_op": 1e6 * spent / max(1, report["done"]), "peak_mib": max(peak_mib(p) for p in pids),
            "fsyncs": system.syncs() - syncs, "errors": report["errors"]}


def median_of(runs):
    return {key: statistics.median(r[key] for r in runs) for key in runs[0]}


def table(results, versions):
    lines = [f"{' beside '.join(versions)}; {os.cpu_count()} processors, Linux {platform.release()}, three nodes "
             "each on one machine, loader on the same machine, medians.", "",
             "| workload | figure | " + " | ".join(v.split()[0] for v in versions) + " | ratio |",
             "|---|---|" + "---|" * (len(versions) + 1)]
    figures = [("per_second", "per second", "{:,.0f}"), ("p50_ms", "p50 ms", "{:.2f}"), ("p99_ms", "p99 ms", "{:.2f}"),
               ("cpu_us_per_op", "server CPU us per operation", "{:,.1f}"), ("peak_mib", "peak MiB of one node", "{:,.0f}"),
               ("fsyncs", "fsyncs", "{:,.0f}")]
    for workload, by_system in results.items():
        for key, label, form in figures:
            values = [by_system[s][key] for s in by_system]
            ratio = f"{values[0] / values[1]:.2f}" if len(values) == 2 and values[1] else ""
            lines.append(f"| {workload} | {label} | " + " | ".join(form.format(v) for v in values) + f" | {ratio} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", default="build/bench.json")
    parser.add_argument("--table", default="build/bench.md")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="leeward-bench-", dir=os.environ.get("BENCH_DIR"))
    systems, results = [], {}
    try:
        systems.append(Leeward(directory))
        etcd = os.environ.get("ETCD") or shutil.which("etcd")
        if etcd:
            systems.append(Etcd(directory, etcd))
        else:
            print("no etcd on the PATH: measuring Leeward alone", file=sys.stderr)
        chosen = [w for w in workloads(options.quick)
                  if not options.only or any(o in w[0] for o in options.only.split(","))]
        for system in systems:
            bench("put", "--inflight", 500, "--connections", 4, "--total", 10000, "--endpoints", system.leader())
        if any("100,000" in w[0] for w in chosen):
            lines = "".join(f"big/{i:08}\t{i:064}\n" for i in range(100000))
            for system in systems:
                print(f"loading 100,000 keys into {system.name}", file=sys.stderr)
                bench("load", "--inflight", 500, "--connections", 4, "--endpoints", system.leader(), stdin=lines)
        for number, (name, args) in enumerate(chosen, 1):
            runs = {s.name: [] for s in systems}
            for turn in range(options.repeat):
                order = systems if turn % 2 == 0 else systems[::-1]
                for system in order:
                    print(f"[{number}/{len(chosen)}] {name}: {system.name}, run {turn + 1} of {options.repeat}",
                          file=sys.stderr)
                    runs[system.name].append(measure(system, args))
                    time.sleep(0.2)
            results[name] = {s.name: median_of(runs[s.name]) for s in systems}
        versions = [s.version() for s in systems]
    finally:
        for system in systems:
            system.stop()
        shutil.rmtree(directory, ignore_errors=True)
    text = table(results, versions)
    print(text)
    for path, content in ((options.table, text), (options.json, json.dumps(
            {"versions": versions, "processors": os.cpu_count(), "results": results}, indent=1))):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
