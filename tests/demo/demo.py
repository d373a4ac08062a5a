#!/usr/bin/env python3
"""Two regions on loopback, a live workload, a killed leader, a lost region; every claim is
checked, and the exit code is 0 only if all of them held.

Active nodes are 127.N.1.1-3, standbys 127.N.2.1-3, each on the default ports; N is 0 or what --net says. With --keep a
Prometheus and an Alertmanager on 127.N.9.1 watch them, if those programs are installed.
"""
import argparse
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import recovery  # noqa: E402
from monitoring import Monitoring  # noqa: E402
from leeward.cluster import BIN, Cluster, Failure, bench, ctl, etcdctl, wait_for  # noqa: E402

CLAIMS = {
    "loaded": "this machine's package database is loaded",
    "successor": "a follower takes over from the killed leader",
    "pause": "writes paused for less than 5 s when the leader died",
    "acknowledged": "no acknowledged write is missing",
    "caught_up": "every standby has caught up",
    "eligible": "every standby may be promoted",
    "input": "a standby gives back each pair that was loaded",
    "same": "a standby holds the leader's keys, values and revisions",
    "hashes": "the state hash of all six nodes is equal",
}
CLAIMS |= recovery.CLAIMS
STARTED = time.monotonic()
HELD = {}  # claim -> bool, of those that were reached


def line(mark, text):
    print(f"{time.monotonic() - STARTED:7.2f} s  {mark:<6}  {text}", flush=True)


def say(text):
    line("", text)


def claim(key, holds, figure):
    HELD[key] = bool(holds)
    line("ok" if holds else "FALSE", f"{CLAIMS[key]}: {figure}")


def judge(key, measure):
    """Makes the claim of what measure() returns, (holds, figure); what it fails by is the figure too."""
    try:
        holds, figure = measure()
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        holds, figure = False, str(failure)
    claim(key, holds, figure)


def show(title, text):
    say(title)
    print("".join(f"{'':20}{row}".rstrip() + "\n" for row in text.rstrip().splitlines()), flush=True)


def dpkg_pairs():
    """One key for each installed package and field: real, uneven data. The last value of a key counts."""
    pairs, package = {}, None
    with open("/var/lib/dpkg/status", encoding="utf-8", errors="replace") as handle:
        for row in handle:
            if row.startswith((" ", "\t")) or ":" not in row:
                continue
            field, value = row.rstrip("\n").split(":", 1)
            if field == "Package":
                package = value.strip()
            if package:
                pairs[f"dpkg/{package}/{field}"] = value.strip().replace("\t", " ")
    return pairs


def everything(endpoint, *flags, prefix=""):
    """key -> (value, mod_revision, create_revision, version), read by etcdctl."""
    text = etcdctl(endpoint, "get", prefix, "--prefix", "-w", "json", *flags, timeout=60).stdout
    plain = lambda kv, field: base64.b64decode(kv.get(field, "")).decode()
    return {plain(kv, "key"): (plain(kv, "value"), kv["mod_revision"], kv["create_revision"], kv["version"])
            for kv in json.loads(text).get("kvs", [])}


class Writer:
    """A steady load whose outcomes are recorded."""

    def __init__(self, cluster, nodes=None, prefix="live/", record="record"):
        self.record = os.path.join(cluster.dir, record)
        nodes = nodes or cluster.active
        self.process = subprocess.Popen(
            [os.path.join(BIN, "leeward-bench"), "steady", "--endpoints", ",".join(n.client for n in nodes), "--rate", "500",
             "--connections", str(len(nodes)), "--inflight", "300", "--prefix", prefix, "--keys", "1000", "--record", self.record, "--quiet"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_for_more(self, size):
        """Until the record has grown by `size` bytes."""
        def written():
            return os.path.getsize(self.record) if os.path.exists(self.record) else 0
        before = written()
        def more():
            if self.process.poll() is not None:
                raise SystemError(f"the writer ended with code {self.process.returncode}")
            return written() >= before + size
        wait_for("writes to go on", more)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def rows(self):
        """(end_ns, key, value, whether acknowledged, revision) of each write."""
        with open(self.record, encoding="utf-8") as handle:
            fields = [row.rstrip("\n").split("\t") for row in handle]
        return [(int(end), key, value, outcome == "ok", int(revision)) for _, end, key, value, outcome, revision, _ in fields]


def longest_pause(rows, after_ns, before_ns):
    """The longest time in s between two acknowledgements from 2 s before `after_ns` on."""
    ends = sorted(end for end, _, _, told, _ in rows if told and after_ns - 2_000_000_000 <= end <= before_ns)
    return max((b - a for a, b in zip(ends, ends[1:])), default=0) / 1e9


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def load(cluster, leader):
    pairs = dpkg_pairs()
    rows = list(pairs.items())
    by_etcdctl, in_bulk = rows[:25], rows[25:]
    for key, value in by_etcdctl:
        etcdctl(cluster.endpoints, "put", "--", key, value)
    for _ in range(3):  # an election in between ends some: a machine may stand still for a second
        report = bench("load", "--endpoints", leader.client, "--inflight", 200, "--connections", 4,
                       stdin="".join(f"{k}\t{v}\n" for k, v in in_bulk))
        if report["errors"] == 0:
            break
    claim("loaded", in_bulk and report["errors"] == 0 and report["done"] == len(in_bulk),
          f"{len(pairs):,} keys, {len(by_etcdctl)} of them by etcdctl, {report['done']:,} in bulk at "
          f"{report['per_second']:,.0f} keys/s")
    return pairs


def lose_the_leader(cluster, leader):
    """Kills it under load and restarts it; returns what the writer was told."""
    writer = Writer(cluster)
    try:
        writer.wait_for_more(50000)
        term = int(leader.status()["term"])
        say(f"500 writes/s are running; killing the leader {leader.name} with SIGKILL")
        killed_at = now_ns()
        leader.kill(signal.SIGKILL)
        successor = cluster.leader([n for n in cluster.active if n is not leader])
        took_ms = (now_ns() - killed_at) / 1e6
        new_term = int(successor.status()["term"])
        claim("successor", new_term > term, f"{successor.name} leads {took_ms:,.0f} ms after the kill, term {term} -> {new_term}")
        writer.wait_for_more(20000)
        say(f"writes go on; restarting {leader.name}")
        leader.start()
        cluster.wait_ready([leader])
        writer.wait_for_more(20000)
        until = now_ns()
        show("`leewardctl cluster status`, while writes go on (APPLIED counts in each region's own log):",
             ctl("--endpoints", cluster.endpoints, "cluster", "status").stdout)
        show("`leewardctl standby status`, what a promotion now would lose:",
             ctl("--endpoints", cluster.endpoints, "standby", "status").stdout)
    finally:
        writer.stop()
    rows = writer.rows()
    say(f"the writer has stopped: {sum(row[3] for row in rows):,} writes were acknowledged, "
        f"{sum(not row[3] for row in rows):,} have an unknown outcome")
    pause = longest_pause(rows, killed_at, until)
    claim("pause", 0 < pause < 5, f"{pause * 1000:,.0f} ms between two acknowledgements")
    return rows


def acknowledged(rows, found):
    """Each key's last acknowledged write must be there, or one that came after it."""
    last = {}
    for _, key, value, told, revision in rows:
        if told and revision > last.get(key, (0, ""))[0]:
            last[key] = (revision, value)
    none = ("", 0, 0, 0)
    lost = sum(found.get(key, none)[1] < revision or (found[key][1] == revision and found[key][0] != value)
               for key, (revision, value) in last.items())
    return last and not lost, f"{lost:,} of {len(last):,} keys lack their last one"


def standbys_seen_by(cluster):
    return json.loads(ctl("--endpoints", cluster.endpoints, "-o", "json", "standby", "status").stdout)["standbys"]


def catch_up(cluster, leader):
    """The lag is what the primary was last told, so each standby's own revision is asked too."""
    revision, began = int(leader.status()["revision"]), time.monotonic()
    def behind(standby):
        if not standby.get("connected"):
            return "not connected"
        if "lag_writes" not in standby:
            return "lag unknown"
        return f"{int(standby['lag_writes']):,} writes behind" if int(standby["lag_writes"]) else ""
    def reached():
        seen = standbys_seen_by(cluster)
        reasons = [f"{s['id']}: {behind(s)}" for s in seen if behind(s)]
        reasons += [f"{n.name}: at another revision" for n in cluster.standby if int(n.status()["revision"]) < revision]
        if reasons or len(seen) != len(cluster.standby):
            raise Failure("; ".join(reasons) or f"{len(seen)} standbys are known")
        return True
    wait_for("a lag of 0", reached, 10)
    return True, f"0 writes behind at revision {revision:,}, {(time.monotonic() - began) * 1000:,.0f} ms after the writer stopped"


def eligible(cluster):
    def all_may():
        why = [f"{s['id']}: " + ", ".join(r["check"] for r in s["reasons"] if not r.get("ok")) for s in standbys_seen_by(cluster)
               if not s["promotion_eligible"]]
        if why:
            raise Failure("; ".join(why))
        return True
    wait_for("every standby to be eligible", all_may, 10)
    return True, ", ".join(n.name for n in cluster.standby)


def same_as_input(pairs, held, where):
    read = {key: entry[0] for key, entry in held.items() if key.startswith("dpkg/")}
    equal = sum(read.get(key) == value for key, value in pairs.items())
    others = len(read.keys() - pairs.keys())
    return equal == len(pairs) and not others, (f"{equal:,} of {len(pairs):,} equal the input" +
                                                (f", {others:,} that were never loaded" if others else "") + f", read at {where}")


def same_as_leader(here, there, leader):
    differing = sum(here.get(key) != there.get(key) for key in here.keys() | there.keys())
    return here and not differing, f"{len(there):,} keys, {differing:,} differ from {leader.name}'s"


def hashes(cluster):
    def equal():
        seen = {}
        for node in cluster.nodes:
            me = next(m for m in node.status()["members"] if int(m["id"]) == node.id)
            seen.setdefault((me["state_hash_index"], me["state_hash"]), []).append(node.name)
        if len(seen) > 1:
            raise Failure("; ".join(f"{', '.join(names)}: {digest[:12]} at {index}" for (index, digest), names in seen.items()))
        return next(iter(seen))
    position, digest = wait_for("equal state hashes", equal, 10)
    return True, f"{digest[:32]} at position {int(position):,}"


def story(cluster):
    east, west = cluster.active[0].host[:-2], cluster.standby[0].host[:-2]
    say(f"starting three active nodes (a1-a3: east, {east}.1-3) and three standbys (s1-s3: west, {west}.1-3)")
    cluster.start().wait_ready()
    leader = cluster.leader()
    say(f"all six are ready; {leader.name} leads")
    pairs = load(cluster, leader)
    rows = lose_the_leader(cluster, leader)
    leader = cluster.leader()
    judge("acknowledged", lambda: acknowledged(rows, everything(cluster.endpoints, prefix="live/")))
    judge("caught_up", lambda: catch_up(cluster, leader))
    show("`leewardctl standby status`, with no writes:", ctl("--endpoints", cluster.endpoints, "standby", "status").stdout)
    judge("eligible", lambda: eligible(cluster))
    reader, held = cluster.standby[1], {}
    def compare():
        held.update(everything(reader.client, "--consistency=s"))
        return same_as_input(pairs, held, f"{reader.name} ({reader.client})")
    judge("input", compare)
    judge("same", lambda: same_as_leader(everything(leader.client), held, leader))
    judge("hashes", lambda: hashes(cluster))
    recovery.story(sys.modules[__name__], cluster)


def address_in_use(cluster):
    """The first address that somebody listens on, usually a demo that was left running."""
    for node in cluster.nodes:
        for port in (2379, 2380, 8080, 9090):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((node.host, port))
                except OSError:
                    return f"{node.host}:{port}"
    return None


def left_running(cluster, monitoring):
    command = os.path.relpath(os.path.join(BIN, "leewardctl"))
    standby, key = cluster.standby[0].client, "dpkg/bash/Version"
    return "\n".join((
        f"left running; data and logs are in {cluster.dir}",
        f"  primary:  ETCDCTL_API=3 etcdctl --endpoints={cluster.endpoints} get {key}",
        f"  standby:  ETCDCTL_API=3 etcdctl --endpoints={standby} get --consistency=s {key}",
        f"  status:   {command} --endpoints {cluster.endpoints} standby status",
        f"  console:  http://{cluster.active[0].admin}/",
        *monitoring.lines(),
        f"  stop it:  kill {' '.join(str(p.pid) for p in [*(n.process for n in cluster.nodes if n.alive), *monitoring.processes])}",
        f"  then:     rm -r {cluster.dir}"))


def main():
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Two regions on loopback; exits 0 only if every claim held.")
    parser.add_argument("--keep", action="store_true", help="leave the six nodes running and print where")
    parser.add_argument("--net", type=int, default=0, choices=range(256), metavar="N", help="use 127.N.1.1-3 and 127.N.2.1-3 (0)")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="leeward-demo-")
    cluster = Cluster(active=3, standby=3, net=options.net, directory=directory, name="demo",
                      settings={"dr": {"primary_silence": "1s"}})
    if taken := address_in_use(cluster):
        os.rmdir(directory)
        parser.error(f"{taken} is in use, perhaps by an earlier demo: stop that one, or give --net 1")
    # Nodes take a hangup for a reload: who closes the terminal must not leave them behind.
    for stopping in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stopping, lambda number, _: sys.exit(f"stopped by {signal.Signals(number).name}"))
    monitoring = Monitoring(cluster, f"127.{options.net}.9.1")
    error, keep = None, False
    print("Left: seconds since the start. ok or FALSE: a claim, and what was measured.", flush=True)
    try:
        try:
            story(cluster)
        except (Failure, OSError, subprocess.SubprocessError, SystemError) as failure:
            error = failure
            line("FAILED", str(failure))
            for node in cluster.nodes:
                print(f"--- last lines of {node.name}'s log\n" + "\n".join(node.log_text().splitlines()[-8:]))
        for key in [key for key in CLAIMS if key not in HELD]:
            line("FALSE", f"{CLAIMS[key]}: not reached")
        held = sum(HELD.values())
        whole = not error and held == len(CLAIMS)
        print(f"\n{held} of {len(CLAIMS)} claims held in {time.monotonic() - STARTED:.1f} s" +
              ("; stopped early, the line FAILED says why" if error else ""))
        if options.keep and not error:
            print(left_running(cluster, monitoring.start()))
            keep = True
    finally:
        if not keep:
            monitoring.stop()
            cluster.stop()
            shutil.rmtree(directory, ignore_errors=True)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
