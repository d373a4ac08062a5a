#!/usr/bin/env python3
"""What `leewardctl capacity` predicts beside what is measured, in one run on one
machine: writes a second, bytes in the log and in the state, memory.

usage: tests/bench/capacity.py [--total N] [--keys N] [--memory-total N]

Three nodes and the loader share the processors here, as they would not in
production. So processor time a write is that of all of them: it is taken from
this run at two loads (CALIBRATED), and what is predicted are the others. fsync
is what the command's own --probe finds beside the nodes' directories, before
they have anything to do; the time of a lone write's way is the command's default.
"""
import argparse
import base64
import json
import os
import random
import resource
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from compare import peak_mib, reset_peak  # noqa: E402
from leeward.claims import metric  # noqa: E402
from leeward.cluster import Cluster, bench, ctl  # noqa: E402

VALUE, BENCH_KEY, LOADED_KEY = 256, len("bench/0000000000"), 32
CALIBRATED = (20, 600)  # in flight
PREDICTED = (1, 10, 100, 300, 1000)
TICKS = os.sysconf("SC_CLK_TCK")


def predict(**flags):
    words = [word for key, value in flags.items() for word in ("--" + key.replace("_", "-"), value)]
    return json.loads(ctl("capacity", *words, "-o", "json").stdout)


def cpu(cluster):
    """Seconds of all nodes and of the loaders that have ended."""
    total = 0.0
    for node in cluster.active:
        with open(f"/proc/{node.process.pid}/stat", encoding="ascii") as handle:
            fields = handle.read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return total + children.ru_utime + children.ru_stime


def busy():
    """Seconds that the machine's processors were busy or taken from it, for whomever."""
    with open("/proc/stat", encoding="ascii") as handle:
        user, nice, system, _, _, irq, softirq, steal = map(int, handle.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def resident(node):
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as handle:
        return next(int(line.split()[1]) * 1024 for line in handle if line.startswith("VmRSS"))


class Rows:
    """Measured beside predicted; the ratio is what counts."""

    def __init__(self):
        print("| figure | predicted | measured | measured / predicted |\n|---|---|---|---|")

    def add(self, figure, predicted, measured, form="{:,.0f}"):
        print(f"| {figure} | {form.format(predicted)} | {form.format(measured)} | {measured / predicted:.2f} |", flush=True)


def put(cluster, inflight, total):
    """The loader's report, with CPU us a write and writes a sync of the leader's log, and the entries that came of it."""
    leader = cluster.leader()
    applied = lambda: int(next(m["applied_index"] for m in leader.status()["members"] if int(m["id"]) == leader.id))
    syncs = lambda: metric(leader, "wal_fsync_duration_seconds_count")
    synced = lambda: metric(leader, "wal_fsync_duration_seconds_sum")
    time.sleep(1)  # until the node says how far it is
    first, cpu_before, busy_before, syncs_before, synced_before = applied(), cpu(cluster), busy(), syncs(), synced()
    began = time.monotonic()
    report = bench("put", "--endpoints", leader.client, "--inflight", inflight, "--connections", max(1, inflight // 50), "--total", total,
                   "--value-size", VALUE, "--keys", 10000)
    ours, all_of_them = cpu(cluster) - cpu_before, busy() - busy_before
    report["cpu_us"] = 1e6 * ours / report["done"]
    report["others"] = max(0.0, all_of_them - ours) / (time.monotonic() - began) / os.cpu_count()
    report["fsync_us"] = 1e6 * (synced() - synced_before) / max(1, syncs() - syncs_before)
    report["batch"] = report["done"] / max(1, syncs() - syncs_before)
    time.sleep(1)
    report["entries"] = (first, applied())
    return report


def log_bytes_a_write(directory, first, last):
    """From where each entry stands to where the next one does, in the same segment."""
    written = writes = 0
    before = None
    for line in ctl("storage", "log", directory, "--from", first + 1, "--to", last + 1, "-o", "json", timeout=120).stdout.splitlines():
        entry = json.loads(line)
        if before and entry["file"] == before["file"]:
            written += int(entry["offset_bytes"]) - int(before["offset_bytes"])
            writes += before["writes"]
        before = entry
    return written / writes


def writes_and_log(rows, total):
    with Cluster(active=3) as cluster:
        os.makedirs(cluster.dir, exist_ok=True)
        probed = predict(probe=cluster.dir)
        cluster.start().wait_ready()
        leader = cluster.leader()
        time.sleep(1)
        idle = resident(leader)
        put(cluster, 200, total // 4)  # keys that are there, caches that are warm
        few, many = (put(cluster, inflight, total) for inflight in CALIBRATED)
        # us = write + batch / writes of a batch, twice
        per_batch = max(0.0, (few["cpu_us"] - many["cpu_us"]) / (1 / few["batch"] - 1 / many["batch"]))
        per_write = few["cpu_us"] - per_batch / few["batch"]
        print(f"fsync {1000 * probed['fsync_ms']:.0f} us by the probe; CPU of three nodes and the loader {per_write:.0f} us a write, "
              f"{per_batch:.0f} us a batch\n", file=sys.stderr)
        shared = {"fsync": f"{round(1e6 * probed['fsync_ms'])}ns", "round_trip": "0", "wan_round_trip": "0", "key_size": f"{BENCH_KEY}B",
                  "value_size": f"{VALUE}B", "keys": 10000, "processors": os.cpu_count(), "cpu_per_write": f"{round(1000 * per_write)}ns",
                  "cpu_per_batch": f"{round(1000 * per_batch)}ns"}
        phases = []
        for inflight in PREDICTED:
            said, seen = predict(clients=inflight, **shared), put(cluster, inflight, total if inflight > 1 else total // 20)
            phases.append((inflight, said, seen))
            rows.add(f"writes/s, {inflight} in flight ({100 * seen['others']:.0f} % of the machine went to others)",
                     said["writes_per_second"], seen["per_second"])
        rows.add("writes in a batch, 100 in flight", phases[2][1]["batch_writes"], phases[2][2]["batch"], "{:.1f}")
        lone = phases[0][2]
        shared["fsync"] = f"{round(1000 * lone['fsync_us'])}ns"
        rows.add("writes/s, 1 in flight, by the fsync that the leader saw", predict(clients=1, **shared)["writes_per_second"], lone["per_second"])
        rows.add("fsync of the leader, us, 1 in flight (three nodes on one disk)", 1000 * probed["fsync_ms"], lone["fsync_us"])
        rows.add("memory of an idle leader, MiB", mib(phases[0][1]["memory"]["process_bytes"]), mib(idle))
        leader.kill()
        for inflight, said, seen in phases:
            rows.add(f"log bytes a write, {inflight} in flight", said["log_bytes_per_write"], log_bytes_a_write(leader.dir + "/data", *seen["entries"]))


def mib(size):
    return int(size) / 2**20


def memory(rows, total):
    """So many writes that caches and checkpoints are what they stay."""
    with Cluster(active=3) as cluster:
        leader = cluster.start().wait_ready().leader()
        report = bench("put", "--endpoints", leader.client, "--inflight", 1000, "--connections", 20, "--total", total, "--value-size", VALUE,
                       "--keys", 100000)
        said = predict(clients=1000, key_size=f"{BENCH_KEY}B", value_size=f"{VALUE}B", keys=100000, writes_per_second=round(report["per_second"]))
        rows.add(f"memory of the leader after {total:,} writes, MiB", mib(said["memory"]["sum_bytes"]), mib(resident(leader)))
        rows.add("log kept, MiB", mib(said["log_kept_bytes"]), mib(metric(leader, "wal_size_bytes")))


def state(rows, keys):
    """Values that do not compress: the model leaves compression out."""
    chance = random.Random(1)
    lines = lambda: "".join(f"{i:0{LOADED_KEY}}\t{base64.b64encode(chance.randbytes(VALUE * 3 // 4)).decode()}\n" for i in range(keys))
    with Cluster(active=1) as cluster:
        node = cluster.start().wait_ready().leader()
        size = lambda: metric(node, "db_size_bytes")

        def load():
            before = size()
            bench("load", "--endpoints", node.client, "--inflight", 500, "--connections", 4, stdin=lines())
            grown = size() - before
            node.post("/v3/maintenance/defragment", {}, timeout=120)
            return grown / keys, (size() - before) / keys, grown + before

        # For a second of history, and one more until it is compacted: `keys` versions.
        said = predict(key_size=f"{LOADED_KEY}B", value_size=f"{VALUE}B", keys=keys, history="1s", writes_per_second=keys // 2)
        empty = size()
        loose, packed, _ = load()
        rows.add("state bytes a key, as written", said["key_bytes"], loose)
        rows.add("state bytes a key, defragmented", said["key_bytes"], packed)
        _, packed, whole = load()
        rows.add("state bytes a superseded version, defragmented", said["version_bytes"], packed)
        rows.add(f"state of {keys:,} keys, each with one superseded version, MiB", mib(said["state_bytes"]), mib(whole - empty))


def watchers(rows, few, many):
    with Cluster(active=1) as cluster:
        node = cluster.start().wait_ready().leader()

        def held(count):
            """The largest size while so many watch and one event comes."""
            reset_peak(node.process.pid)
            bench("watch", "--endpoints", node.client, "--watchers", count, "--connections", max(1, count // 200), "--inflight", 1, "--total", 1)
            return int(peak_mib(node.process.pid) * 2**20)

        held(few)  # what the first ones cost is not theirs
        said = [int(predict(watchers=n)["memory"]["watch_bytes"]) for n in (few, many)]
        seen = [held(n) for n in (few, many)]
        rows.add("memory of a watcher", (said[1] - said[0]) / (many - few), (seen[1] - seen[0]) / (many - few))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--total", type=int, default=20000)
    parser.add_argument("--keys", type=int, default=100000)
    parser.add_argument("--memory-total", type=int, default=500000)
    options = parser.parse_args()
    rows = Rows()
    writes_and_log(rows, options.total)
    memory(rows, options.memory_total)
    state(rows, options.keys)
    watchers(rows, 1000, 10000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
