"""Two regions on loopback, a live workload, a killed leader; every claim is
checked, and the exit code is 0 only if all of them held.

Active nodes are 127.0.1.1-3, standbys 127.0.2.1-3, each on the default ports.
"""
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from leeward.cluster import BIN, Cluster, Failure, bench, ctl, etcdctl, wait_for  # noqa: E402

STARTED = time.monotonic()
CLAIMS = []


def say(text):
    print(f"{time.monotonic() - STARTED:7.2f} s  {text}", flush=True)


def claim(text, holds, figure=""):
    CLAIMS.append((text, bool(holds), figure))
    say(("ok    " if holds else "FALSE ") + text + (f": {figure}" if figure else ""))


def show(text):
    print("\n".join("             " + line for line in text.rstrip().splitlines()), flush=True)


def dpkg_pairs():
    """One key for each installed package and field: real, uneven data."""
    pairs, package = [], None
    with open("/var/lib/dpkg/status", encoding="utf-8", errors="replace") as handle:
        for line in handle:
            if line.startswith((" ", "\t")) or ":" not in line:
                continue
            field, value = line.rstrip("\n").split(":", 1)
            if field == "Package":
                package = value.strip()
            if package:
                pairs.append((f"dpkg/{package}/{field}", value.strip().replace("\t", " ")))
    return pairs


def longest_pause(record, after_ns, before_ns):
    """The longest time between two acknowledgements in a stretch of the record, in s."""
    ends = sorted(int(line.split("\t")[1]) for line in open(record, encoding="utf-8") if "\tok\t" in line)
    ends = [e for e in ends if after_ns - 2_000_000_000 <= e <= before_ns]
    return max((b - a for a, b in zip(ends, ends[1:])), default=0) / 1e9


def dump(endpoint, *flags):
    return etcdctl(endpoint, "get", "dpkg/", "--prefix", *flags, timeout=60).stdout


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def story(cluster):
    say("starting three active nodes (east, 127.0.1.1-3) and three standbys (west, 127.0.2.1-3)")
    cluster.start().wait_ready()
    leader = cluster.leader()
    say(f"all six are ready; {leader.name} leads")

    pairs = dpkg_pairs()
    by_etcdctl, in_bulk = pairs[:25], pairs[25:]
    for key, value in by_etcdctl:
        etcdctl(cluster.endpoints, "put", "--", key, value)
    report = bench("load", "--endpoints", leader.client, "--inflight", 200, "--connections", 4,
                   stdin="".join(f"{k}\t{v}\n" for k, v in in_bulk))
    keys = len(dict(pairs))
    claim(f"{keys} keys of this machine's package database are loaded",
          report["errors"] == 0, f"{len(by_etcdctl)} by etcdctl, {report['done']} in bulk at {report['per_second']:.0f}/s")

    record = os.path.join(cluster.dir, "record")
    writer = subprocess.Popen([os.path.join(BIN, "leeward-bench"), "steady", "--endpoints", cluster.endpoints, "--rate",
                               "500", "--connections", "3", "--inflight", "300", "--prefix", "live/", "--keys", "1000",
                               "--record", record, "--quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        wait_for("the writer", lambda: os.path.exists(record) and os.path.getsize(record) > 50000)
        say("500 writes/s are running; killing the leader with SIGKILL")
        killed_at = now_ns()
        leader.kill(signal.SIGKILL)
        successor = cluster.leader([n for n in cluster.active if n is not leader])
        say(f"{successor.name} leads; restarting {leader.name}")
        size = os.path.getsize(record)
        wait_for("writes to go on", lambda: os.path.getsize(record) > size + 20000)
        leader.start()
        cluster.wait_ready([leader])
        size = os.path.getsize(record)
        wait_for("writes to go on", lambda: os.path.getsize(record) > size + 20000)
        restarted_at = now_ns()
        say("while writes go on:")
        show(ctl("--endpoints", cluster.endpoints, "cluster", "status").stdout)
        show(ctl("--endpoints", cluster.endpoints, "standby", "status").stdout)
    finally:
        writer.send_signal(signal.SIGTERM)
        writer.wait(timeout=30)
    pause = longest_pause(record, killed_at, restarted_at)
    rows = [line.rstrip("\n").split("\t") for line in open(record, encoding="utf-8")]
    acknowledged = {}
    for _, _, key, value, outcome, revision, _ in rows:
        if outcome == "ok" and int(revision) > acknowledged.get(key, (0, ""))[0]:
            acknowledged[key] = (int(revision), value)
    claim("writes paused for less than 5 s when the leader died", 0 < pause < 5, f"{pause * 1000:.0f} ms")

    live = json.loads(etcdctl(cluster.endpoints, "get", "live/", "--prefix", "-w", "json", timeout=60).stdout)

    found = {base64.b64decode(kv["key"]).decode(): kv["mod_revision"] for kv in live.get("kvs", [])}
    missing = [k for k, (revision, _) in acknowledged.items() if found.get(k, 0) < revision]
    claim("no acknowledged write is missing", not missing,
          f"{sum(r[4] == 'ok' for r in rows)} acknowledged, {sum(r[4] != 'ok' for r in rows)} of unknown outcome")

    def caught_up():
        standbys = json.loads(ctl("--endpoints", cluster.endpoints, "-o", "json", "standby", "status").stdout)["standbys"]
        return len(standbys) == 3 and all(s.get("connected") and int(s.get("lag_writes", 0)) == 0 for s in standbys)
    wait_for("the standbys to catch up", caught_up)
    say("the writer has stopped and the standbys have caught up:")
    show(ctl("--endpoints", cluster.endpoints, "standby", "status").stdout)
    status = json.loads(ctl("--endpoints", cluster.endpoints, "-o", "json", "standby", "status").stdout)["standbys"]
    claim("all standbys may be promoted", all(s["promotion_eligible"] for s in status),
          "; ".join(f"{s['id']}: " + ", ".join(r["check"] for r in s["reasons"] if not r.get("ok")) for s in status
                    if not s["promotion_eligible"]))

    here = dump(leader.client)
    there = dump(cluster.standby[1].client, "--consistency=s")
    claim("a standby gives the same data", here == there and here.count("\n") >= 2 * keys,
          f"{there.count(chr(10)) // 2} keys read at {cluster.standby[1].host}")

    def hashes():
        seen = set()
        for node in cluster.nodes:
            me = next(m for m in node.status()["members"] if int(m["id"]) == node.id)
            seen.add((me["state_hash_index"], me["state_hash"]))
        if len(seen) > 1:
            raise Failure(f"not equal yet: {seen}")
        return next(iter(seen))
    try:
        position, digest = wait_for("equal state hashes", hashes, 10)
        claim("the state hash of all six nodes is equal", True, f"{digest[:32]} at position {position}")
    except Failure as failure:
        claim("the state hash of all six nodes is equal", False, str(failure))


def main():
    keep = "--keep" in sys.argv[1:]
    directory = tempfile.mkdtemp(prefix="leeward-demo-")
    cluster = Cluster(active=3, standby=3, net=0, directory=directory, name="demo")
    error = None
    try:
        story(cluster)
    except (Failure, OSError, subprocess.SubprocessError, SystemError) as failure:
        error = failure
        say(f"FAILED: {failure}")
        for node in cluster.nodes:
            print(f"--- {node.name}\n" + "\n".join(node.log_text().splitlines()[-8:]))
    held = sum(ok for _, ok, _ in CLAIMS)
    print(f"\n{held} of {len(CLAIMS)} claims held" + (f"; stopped early: {error}" if error else ""))
    if keep and not error:
        print(f"left running in {directory}:\n  etcdctl --endpoints={cluster.endpoints}\n"
              f"  standbys: {','.join(n.client for n in cluster.standby)}\n"
              f"  console: http://{cluster.active[0].admin}/\n"
              f"  stop it: kill {' '.join(str(n.process.pid) for n in cluster.nodes)}")
    else:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if held == len(CLAIMS) and CLAIMS and not error else 1


if __name__ == "__main__":
    sys.exit(main())
