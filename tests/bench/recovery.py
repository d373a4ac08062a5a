#!/usr/bin/env python3
"""What the loss of a region costs: six real nodes, two regions 60 ms apart (round
trip, by the relay).

usage: tests/bench/recovery.py promotions [--rounds N] [--keys N]
       tests/bench/recovery.py loss       [--rounds N] [--rate N]
       tests/bench/recovery.py lag        [--rates N,...] [--seconds S]
       tests/bench/recovery.py catch-up   [--link BYTES,...] [--seconds S]
       tests/bench/recovery.py switchover [--rounds N] [--rate N]
       tests/bench/recovery.py rejoin     [--keys N] [--divergent N]

promotions  from the operator's `leewardctl dr promote` to the first write that
            the new primary acknowledges, with many keys loaded
loss        acknowledged writes that are gone when the primary region is killed
            under load, in writes and seconds
lag         from the state of the primary's leader to that of a standby, by one clock
catch-up    the share of a slow link that a standby region uses which was stopped
            while the primary wrote
switchover  how long the writes of clients that know both regions wait while the
            regions change places, there and back
rejoin      bytes over the link until a former primary with writes of its own follows
            again, beside those of a copy to the same region with empty disks

Common: --delay MS (one way), --directory DIR for the data (default /dev/shm: the
regions of a benchmark share one disk, those of a user do not).
"""
import argparse
import base64
import datetime
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "relay")]
from leeward.cluster import BIN, Cluster, FarNode, Failure, b64, bench, ctl, free_net, wait_for  # noqa: E402
from relay import Relay  # noqa: E402

SILENCE = "1s"  # dr.primary_silence: how long an operator waits before a promotion is allowed; not measured


class Regions(Cluster):
    def __init__(self, options, net=None, directory=None, dr=None):
        super().__init__(active=3, standby=3, net=net, settings={"dr": {"primary_silence": SILENCE, **(dr or {})}},
                         directory=directory or tempfile.mkdtemp(prefix="leeward-", dir=options.directory))
        for node in self.nodes:
            node.__class__ = FarNode
        self.relay = Relay({n.name: (f"{n.host}:7380", n.peer) for n in self.nodes}, f"{options.delay}ms")

    def stop(self):
        super().stop()
        self.relay.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def armed(self, timeout=60):
        for node in self.standby:
            wait_for(f"{node.name} to be eligible", lambda node=node: node.ok("/standby/eligible"), timeout)
        return self

    def lose_the_primary(self):
        for node in self.active:
            node.kill(wait=False)
        at = time.monotonic()
        for node in self.active:
            node.process.wait()
        return at

    def dr(self, *args):
        return json.loads(ctl("--endpoints", ",".join(n.client for n in self.standby), "-o", "json", "dr", *args).stdout)

    def plan(self):
        return wait_for("a promotion to be allowed", lambda: (p := self.dr("plan"))["allowed"] and p, 30)

    def promote(self, plan):
        return self.dr("promote", "--digest", plan["digest"], "--accept-data-loss", "--reason", "benchmark")

    def revision(self, node):
        return int(node.post("/v3/kv/range", {"key": b64("a"), "serializable": True})["header"]["revision"])


class Steady:
    """leeward-bench steady in the background, with a record."""

    def __init__(self, endpoints, *args):
        self.file = tempfile.NamedTemporaryFile(prefix="leeward-record-", dir="/dev/shm")
        self.process = subprocess.Popen(
            [os.path.join(BIN, "leeward-bench"), "steady", "--endpoints", ",".join(endpoints), "--record", self.file.name, "--quiet",
             *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self):
        """[(begin, end, acknowledged, revision)], seconds of time.monotonic()."""
        self.process.terminate()
        self.process.wait(timeout=30)
        with open(self.file.name, encoding="ascii") as record:
            rows = [line.split("\t") for line in record]
        return [(int(r[0]) / 1e9, int(r[1]) / 1e9, r[4] == "ok", int(r[5])) for r in rows if len(r) == 7]


def percentile(values, p):
    values = sorted(values)
    return values[max(0, math.ceil(p * len(values)) - 1)]  # the nearest rank


def load():
    return f"load {os.getloadavg()[0]:.1f}"


def copy_tree(source, target):
    """Table files by link, which RocksDB never writes again; whatever is appended to or rewritten by copy."""
    linked = 0
    for folder, _, files in os.walk(source):
        there = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(there, exist_ok=True)
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith(".sst"):
                os.link(path, os.path.join(there, name))
                linked += os.path.getsize(path)
            elif os.path.isfile(path):  # no sockets
                shutil.copy2(path, os.path.join(there, name))
    return linked


def size_of(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files)


def promotions(options):
    net = free_net()
    base = tempfile.mkdtemp(prefix="leeward-", dir=options.directory)
    try:
        saved, work = os.path.join(base, "saved"), os.path.join(base, "work")
        with Regions(options, net, saved) as c:
            c.start().wait_ready(timeout=60).armed()
            keys = subprocess.Popen(["seq", "-f", f"k%010.0f\t{'v' * options.value_size}", str(options.keys)], stdout=subprocess.PIPE)
            done = bench("load", "--endpoints", c.leader().client, "--inflight", 2000, "--connections", 8, stdin=keys.stdout.read().decode(),
                         timeout=3600)
            if done["errors"]:
                raise Failure(f"loading: {done['stderr']}")
            goal = c.revision(c.leader())
            for n in c.standby:
                wait_for("the standbys to follow", lambda n=n: c.revision(n) >= goal, 600)
            for n in c.nodes:
                n.kill(15)
            keep = [(n.name, os.path.join(n.dir, "data")) for n in c.nodes]
            for name, data in keep:
                os.rename(data, os.path.join(base, name))
        print(f"each round begins with a copy of six data directories of {options.keys:,} keys: table files by hard link, all else "
              f"copied ({sum(size_of(os.path.join(base, n)) for n, _ in keep) / 1e6:,.0f} MB together)", flush=True)
        took, steps, reads = [], {}, []
        for turn in range(options.rounds):
            with Regions(options, net, work) as c:
                for n in c.nodes:
                    copy_tree(os.path.join(base, n.name), os.path.join(n.dir, "data"))
                c.start().wait_ready(timeout=120).armed()
                before = Steady([c.leader().client], "--rate", 200, "--inflight", 100, "--prefix", "before/")
                time.sleep(0.5)
                c.lose_the_primary()
                before.end()
                plan = c.plan()
                writer = Steady([n.client for n in c.standby], "--rate", 1000, "--connections", 3, "--inflight", 100, "--prefix", "after/")
                time.sleep(0.3)
                commanded = time.monotonic()
                done = c.promote(plan)
                returned = time.monotonic()
                time.sleep(0.1)
                rows = writer.end()
                first = min(end for begin, end, ok, _ in rows if ok)
                if first < commanded:
                    raise Failure("a write was acknowledged before the promotion")
                took.append(first - commanded)
                reads.append(returned - commanded)
                for step in done["steps"]:
                    steps.setdefault(step["name"], []).append(step["ms"])
                if c.standby[0].value("k" + "0" * 9 + "7") != "v" * options.value_size:
                    raise Failure("a loaded key is missing")
            print(f"{turn + 1}/{options.rounds} {took[-1] * 1000:.0f} ms, {load()}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    ms = [t * 1000 for t in took]
    print("| promotions | keys | p50 ms | p99 ms | max ms | the command itself, p50 ms | " + " | ".join(f"{s}, p50 ms" for s in steps) + " |")
    print("|---" * (6 + len(steps)) + "|")
    print(f"| {len(ms)} | {options.keys:,} | {percentile(ms, .5):.0f} | {percentile(ms, .99):.0f} | {max(ms):.0f} | "
          f"{percentile(reads, .5) * 1000:.0f} | " + " | ".join(f"{percentile(v, .5):.0f}" for v in steps.values()) + " |")


def loss(options):
    print("| round | what was under way | writes/s acknowledged | lost writes | lost seconds | plan: known writes | "
          "plan: unknown since, s before the loss | load |\n|---|---|---|---|---|---|---|---|")
    lost = {"arrives": [], "is lost too": []}
    for turn in range(2 * options.rounds):
        fate = list(lost)[turn % 2]
        with Regions(options) as c:
            c.start().wait_ready(timeout=60).armed()
            leader = c.leader()
            writer = Steady([leader.client], "--rate", options.rate, "--connections", 8, "--inflight", 10000, "--value-size", options.value_size,
                            "--keys", 100000)
            time.sleep(options.seconds)
            wall = time.time()
            if fate == "is lost too":
                c.relay.tell("* reset")
                c.relay.tell("* refuse on")
            killed = c.lose_the_primary()
            rows = writer.end()
            plan = c.plan()
            done = c.promote(plan)
            fork = int(done["fork_revision"])
            written = [r for r in rows if r[2]]
            gone = [r for r in written if r[3] > fork]
            unknown = datetime.datetime.fromisoformat(plan["unknown_since"].replace("Z", "+00:00")).timestamp()
            older = [r for r in gone if r[1] + time.time() - time.monotonic() < unknown]
            if len(older) > int(plan["known_loss_writes"]):
                raise Failure(f"{len(older)} writes from before the last answer are lost, the plan knows {plan['known_loss_writes']}")
            seconds = max((r[1] for r in written), default=killed) - min((r[1] for r in gone), default=killed) if gone else 0.0
            rate = len([r for r in written if killed - 2 <= r[1] <= killed]) / 2
            lost[fate].append((len(gone), seconds))
            print(f"| {turn // 2 + 1} | {fate} | {rate:,.0f} | {len(gone):,} | {seconds:.3f} | {int(plan['known_loss_writes']):,} | {wall - unknown:.3f} | "
                  f"{os.getloadavg()[0]:.1f} |", flush=True)
    for fate, all_lost in lost.items():
        print(f"what was under way {fate}: median {statistics.median(l[0] for l in all_lost):,.0f} writes, "
              f"{statistics.median(l[1] for l in all_lost):.3f} s; most {max(l[0] for l in all_lost):,} writes, {max(l[1] for l in all_lost):.3f} s")


def lag(options):
    with Regions(options) as c:
        c.start().wait_ready(timeout=60).armed()
        print("| writes/s | seen at | p50 ms | p99 ms | max ms | beyond half the round trip, p50 ms | load |\n|---|---|---|---|---|---|---|")
        for rate in map(int, options.rates.split(",")):
            leads = int(c.standby[0].status()["leader_id"])
            for node, what in ((c.by_id(leads), "the following leader"), (next(n for n in c.standby if n.id != leads), "another standby")):
                r = bench("lag", "--endpoints", f"{c.leader().client},{node.client}", "--rate", rate, "--seconds", options.seconds,
                          "--value-size", options.value_size)
                if r["errors"]:
                    raise Failure(r["stderr"])
                print(f"| {rate:,} | {what} | {r['p50_ms']:.1f} | {r['p99_ms']:.1f} | {r['max_ms']:.1f} | {r['p50_ms'] - options.delay:.1f} | "
                      f"{os.getloadavg()[0]:.1f} |", flush=True)


def catch_up(options):
    print("| link, bytes/s | missing, MB | whole time s | payload, share of the link | all bytes, share of the link | load |\n|---|---|---|---|---|---|")
    for rate in map(int, options.link.split(",")):
        with Regions(options, dr={"compression": "off"}) as c:
            c.start().wait_ready(timeout=60).armed()
            leader = c.leader()
            bench("put", "--endpoints", leader.client, "--inflight", 50, "--total", 500, "--value-size", options.value_size)
            for n in c.standby:
                wait_for("the standbys to follow", lambda n=n: c.revision(n) == c.revision(leader), 30)
            for n in c.standby:
                n.kill()
            before = c.revision(leader)
            writes = rate * options.seconds // options.value_size
            bench("put", "--endpoints", leader.client, "--inflight", 200, "--connections", 4, "--total", writes, "--value-size",
                  options.value_size, timeout=600)
            goal = c.revision(leader)
            c.relay.tell(f"* rate {rate}")
            # To the standbys: bytes of connections that they dialled come down, of those of the primary go up.
            received = lambda: sum(c.relay.stats(n.name)["down"] for n in c.active) + sum(c.relay.stats(n.name)["up"] for n in c.standby)
            for n in c.standby:
                n.start()
            wait_for("the stream to begin", lambda: any(n.ok("/livez") and c.revision(n) > before for n in c.standby), 60)
            began = time.monotonic()
            first, bytes_first = max(c.revision(n) for n in c.standby if n.ok("/livez")), received()
            wait_for("the standbys to catch up", lambda: max(c.revision(n) for n in c.standby) >= goal, 600, every=0.01)
            took = time.monotonic() - began
            payload = (goal - first) * options.value_size / took / rate
            print(f"| {rate:,} | {writes * options.value_size / 1e6:.0f} | {took:.1f} | {payload:.0%} | {(received() - bytes_first) / took / rate:.0%} | "
                  f"{os.getloadavg()[0]:.1f} |", flush=True)


def switchover(options):
    gaps, told, writes = [], [], 0
    print("| to | writes/s asked for | acknowledged | refused or lost | slowest write ms | the same in the second before, ms | "
          "writes paused, by the command, ms | load |\n|---|---|---|---|---|---|---|---|")
    with Regions(options) as c:
        c.start().wait_ready(timeout=60).armed()
        everywhere = ",".join(n.client for n in c.nodes)
        for turn in range(2 * options.rounds):
            to = ("west", "east")[turn % 2]
            following = c.standby if to == "west" else c.active
            for n in following:
                wait_for(f"{n.name} to be eligible", lambda n=n: n.ok("/standby/eligible"), 60)
            writer = Steady([n.client for n in c.nodes], "--rate", options.rate, "--connections", 12, "--inflight", 10000, "--value-size",
                            options.value_size, "--keys", 100000)
            time.sleep(options.seconds)
            began = time.monotonic()
            done = json.loads(ctl("--endpoints", everywhere, "-o", "json", "dr", "switchover", "--to", to, "--reason", "benchmark", timeout=60).stdout)
            time.sleep(1)
            ended = time.monotonic()
            rows = writer.end()
            acknowledged = sum(ok for *_, ok, _ in rows)
            refused = len(rows) - acknowledged
            # A write at the following region takes a round trip at any time.
            slowest = lambda low, high: max(end - begin for begin, end, ok, _ in rows if ok and low <= end <= high) * 1000
            gaps.append(slowest(began, ended))
            told.append(float(done["paused_ms"]))
            writes += acknowledged
            revision = max(row[3] for row in rows)
            for n in c.nodes:
                wait_for(f"{n.name} to have all writes", lambda n=n: c.revision(n) >= revision, 30)
            print(f"| {to} | {options.rate:,} | {acknowledged:,} | {refused} | {gaps[-1]:.0f} | {slowest(began - 1, began):.0f} | {told[-1]:.0f} | "
                  f"{os.getloadavg()[0]:.1f} |", flush=True)
    print(f"{len(gaps)} switchovers, {writes:,} writes, the slowest of each {percentile(gaps, .5):.0f} ms (median), {max(gaps):.0f} ms (most); "
          f"writes paused, by the command, {percentile(told, .5):.0f} ms, {max(told):.0f} ms")


def incompressible(size):
    return base64.b64encode(random.randbytes(size))[:size].decode()


def rejoin(options):
    """The link is cut under an old primary that goes on writing, so both regions have what the other lacks."""
    with Regions(options) as c:
        c.start().wait_ready(timeout=60).armed()
        keys = "".join(f"k{i:010}\t{incompressible(options.value_size)}\n" for i in range(options.keys))
        if (done := bench("load", "--endpoints", c.leader().client, "--inflight", 2000, "--connections", 8, stdin=keys, timeout=3600))["errors"]:
            raise Failure(f"loading: {done['stderr']}")
        goal = c.revision(c.leader())
        for n in c.standby:
            wait_for("the standbys to follow", lambda n=n: c.revision(n) >= goal, 600)
        c.relay.tell("* refuse on")
        c.relay.tell("* reset")
        alone = "".join(f"k{i:010}\t{incompressible(options.value_size)}\n" for i in range(options.divergent))
        bench("load", "--endpoints", c.leader(c.active).client, "--inflight", 1, "--connections", 1, stdin=alone, timeout=600)
        plan = c.plan()
        done = c.promote(plan)
        c.by_id(int(done["leader_id"])).put("new", "epoch")
        sent = lambda: sum(s["up"] + s["down"] for s in (c.relay.stats(n.name) for n in c.nodes))
        before, began = sent(), time.monotonic()
        c.relay.tell("* refuse off")
        for n in c.active:
            wait_for("the old primary to be fenced", lambda n=n: n.status()["role"] == "fenced", 60)
        east = ",".join(n.client for n in c.active)
        back = wait_for("the old region to go back", lambda: json.loads(ctl("--endpoints", east, "-o", "json", "dr", "rejoin", timeout=300).stdout), 300)

        def follows():
            for n in c.active:
                wait_for(f"{n.name} to follow", lambda n=n: n.value("new") == "epoch", 600)
        follows()
        rewound, took = sent() - before, time.monotonic() - began
        ledgers = sum(int(l["writes"]) for l in back["ledgers"])
        print(f"rejoin: {rewound:,} bytes over the link in {took:.1f} s, both ways, pings and all; {ledgers:,} writes in the ledger, "
              f"{options.divergent:,} were written alone", flush=True)
        for n in c.active:
            n.kill()
            shutil.rmtree(os.path.join(n.dir, "data"))
        before, began = sent(), time.monotonic()
        for n in c.active:
            n.start()
        follows()
        whole, took = sent() - before, time.monotonic() - began
        print(f"a copy to empty disks: {whole:,} bytes in {took:.1f} s; rejoin sent {rewound / whole:.2%} of it. {options.keys:,} keys of "
              f"{options.value_size} bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("promotions", "loss", "lag", "catch-up", "switchover", "rejoin"))
    parser.add_argument("--delay", type=int, default=30, help="milliseconds, one way")
    parser.add_argument("--directory", default="/dev/shm")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--divergent", type=int, default=10_000, help="writes that the old primary alone holds (rejoin)")
    parser.add_argument("--rate", type=int, help="writes a second (loss: 10000, switchover: 2000)")
    parser.add_argument("--rates", default="100,1000", help="writes a second (lag)")
    parser.add_argument("--value-size", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--link", default="2000000,8000000", help="bytes a second (catch-up)")
    options = parser.parse_args()
    run, rounds, seconds, size, rate = {
        "promotions": (promotions, 100, 0, 100, 0), "loss": (loss, 10, 4, 256, 10_000), "lag": (lag, 0, 10, 256, 0),
        "catch-up": (catch_up, 0, 15, 1000, 0), "switchover": (switchover, 10, 2, 256, 2000), "rejoin": (rejoin, 0, 0, 100, 0)}[options.what]
    options.rounds, options.seconds, options.value_size = options.rounds or rounds, options.seconds or seconds, options.value_size or size
    options.rate = options.rate or rate
    print(f"{options.what}: round trip {2 * options.delay} ms, data in {options.directory}, {load()} at the begin", flush=True)
    run(options)
    print(f"{load()} at the end")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"recovery.py: {failure}")
