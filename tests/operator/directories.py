"""Log and checkpoints on volumes of their own."""
import glob
import json
import os
import shutil
import signal
import tempfile

from leeward.claims import equal, expect
from leeward.cluster import Cluster, bench, ctl, wait_for
from common import one_line, page

# Little log and many checkpoints, so that one who is away needs a snapshot.
SETTINGS = {"storage": {"segment_size": "2MiB", "checkpoint_interval": 500}, "dr": {"retain_log": "2MiB"}}


def other_volume(beside):
    """A new directory, on another file system than `beside` where there is one: links and renames fail across."""
    place = "/dev/shm"
    usable = os.path.isdir(place) and os.stat(place).st_dev != os.stat(beside).st_dev and \
        os.statvfs(place).f_bavail * os.statvfs(place).f_frsize > 300 << 20
    return tempfile.mkdtemp(prefix="leeward-volume-", dir=place if usable else None)


def verified(node, wal, snapshots):
    """What `storage verify --full-scan` says of a stopped node."""
    done = ctl("-o", "json", "storage", "verify", "--full-scan", os.path.join(node.dir, "data"), "--wal-dir", wal,
               "--snapshot-dir", snapshots, check=False)
    report = json.loads(done.stdout)
    expect(done.returncode == 0 and report["sound"], f"{node.name}: {done.stdout}{done.stderr}")
    return report


def log_and_checkpoints_may_stand_on_volumes_of_their_own():
    with Cluster(active=3, settings=SETTINGS) as c:
        volume = other_volume(c.dir)
        try:
            places = {n: (os.path.join(volume, n.name, "wal"), os.path.join(volume, n.name, "checkpoints")) for n in c.active}
            def start(node):
                wal, snapshots = places[node]
                node.start("--set", f"node.wal_dir={wal}", "--set", f"node.snapshot_dir={snapshots}")
            def start_all():
                for n in c.active:
                    start(n)
                c.wait_ready(timeout=60)
            start_all()
            late = next(n for n in c.active if n is not c.leader())
            late.kill()
            bench("put", "--endpoints", c.leader().client, "--inflight", 200, "--total", 20000, "--keys", 2000, "--value-size", 1024)
            wait_for("the log to be released", lambda: all(page(n)("wal_size_bytes") < 12 << 20 for n in c.active if n is not late))
            start(late)
            c.wait_ready(timeout=60)
            c.leader().put("last", "before")
            wait_for("it to catch up", lambda: late.value("last", serializable=True) == "before", 30)
            wait_for("it to log a snapshot; else it caught up by the log and nothing crossed the volumes",
                     lambda: "a snapshot was installed" in late.log_text())
            for n in c.active:  # who came by a snapshot makes its own a moment later
                wait_for(f"a checkpoint of {n.name}", lambda n=n: glob.glob(places[n][1] + "/*/leeward-manifest"))
            said = page(late)
            for name, path in (("wal", places[late][0]), ("snapshot", places[late][1]), ("data", late.dir)):
                stat = os.statvfs(path)
                equal(said("disk_total_bytes", volume=name), stat.f_blocks * stat.f_frsize, f"size of the {name} volume")
            for how in (signal.SIGKILL, signal.SIGTERM):
                for n in c.active:
                    n.kill(how, wait=False)
                for n in c.active:
                    n.process.wait(timeout=120)
                for n in c.active:
                    check_places(n, *places[n], killed=how == signal.SIGKILL)
                # Forgetting where the log is must not be a fresh start.
                refused = c.active[0].start("--set", f"node.snapshot_dir={places[c.active[0]][1]}").process.wait(timeout=60)
                equal(refused, 3, "exit code of a start without wal_dir")
                expect("name the place: node.wal_dir" in c.active[0].log_text(), c.active[0].log_text()[-800:])
                shutil.rmtree(os.path.join(c.active[0].dir, "data", "wal"), ignore_errors=True)
                start_all()
                for n in c.active:
                    wait_for(f"the last write at {n.name} after {how.name}", lambda n=n: n.value("last", serializable=True) == "before")
                    wait_for(f"all keys at {n.name} after {how.name}", lambda n=n: page(n)("keys") == 2001)
        finally:
            c.stop()
            shutil.rmtree(volume)


def check_places(node, wal, snapshots, killed):
    """Each kind of file is in its place, nothing of it in the data directory, and all of it is sound."""
    data = os.path.join(node.dir, "data")
    expect(glob.glob(wal + "/log-*.seg") and os.listdir(snapshots), f"{os.listdir(wal)}, {os.listdir(snapshots)}")
    expect(not {"wal", "snapshots"} & set(os.listdir(data)) and not glob.glob(data + "/**/log-*.seg", recursive=True),
           str(os.listdir(data)))
    report = verified(node, wal, snapshots)
    # After a kill the last writes may stand in the log alone.
    expect(int(report["entries"]) > 0 and int(report["checkpoints"]) > 0 and (killed or int(report["keys"]) == 2001), str(report))
    # Without the flags it looks where nothing is, and says so.
    blind = ctl("storage", "verify", data, check=False)
    expect(blind.returncode == 1 and f"{data}/wal: the log is missing" in blind.stdout, blind.stdout + blind.stderr)


def a_directory_of_checkpoints_is_one_nodes_alone():
    with Cluster(active=3) as c:
        shared = os.path.join(c.dir, "checkpoints")
        first, second = c.active[:2]
        first.start("--set", f"node.snapshot_dir={shared}")
        wait_for("the lock to be held", lambda: os.path.exists(os.path.join(shared, "LOCK")) and '"msg":"listening"' in first.log_text())
        second.start("--set", f"node.snapshot_dir={shared}")
        equal(second.process.wait(timeout=60), 3, "exit code")
        with open(os.path.join(second.dir, "stderr"), encoding="utf-8") as handle:
            one_line(handle.read(), "in use by process", "(leewardd)", shared)
        expect(first.alive, "the one who has it ended too")
        first.kill(signal.SIGTERM)
        report = verified(first, os.path.join(first.dir, "data", "wal"), shared)
        expect(not any(u["file"].startswith(shared) for u in report["uncovered"]), str(report))
        second.start("--set", f"node.snapshot_dir={shared}")
        first.start()  # inside its own data
        c.wait_ready([first, second])
