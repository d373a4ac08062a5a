"""Backups by timer and by hand into an object store, and a whole cluster from one."""
import re
import time

from leeward.claims import equal, expect
from leeward.cluster import wait_for
import control
import hosts
import lab
from operations import refused
import store

UNIT = "leeward-backup.service"


def on(who, *words):
    return control.command("ansible", "-i", control.inventory(), who, "-b", "-m", "command", "-a", " ".join(words), "--one-line")


def leader(region):
    status = control.ctl(region, "cluster", "status")
    return next(member["name"] for member in status["members"] if member["region"] == region and member["state"] == "leader")


def a_backup_by_hand_lands_once_for_each_region():
    store.running()
    before = {region: store.objects(region) for region in lab.REGIONS}
    revision = int(re.search(r'"revision":(\d+)', control.etcdctl("east", "put", "backed", "up", "-w", "json"))[1])
    leaders = sorted(leader(region) for region in lab.REGIONS)
    run = control.playbook("backup")
    equal(sorted(run.changed), leaders, "hosts that made one")
    for region in lab.REGIONS:
        came = {key: size for key, size in store.objects(region).items() if key not in before[region]}
        equal(len(came), 1, f"objects that came from {region}")
        key, size = came.popitem()
        expect(run.said(f"s3://{store.BUCKET}/{key}: {size} bytes, revision"), f"it does not say {key} of {size} bytes:\n{run.text[-3000:]}")
        if not before[region]:
            expect(key.startswith(f"weekly/leeward/{region}/"), f"the first one is not the week's: {key}")
        if region == "east":
            expect(int(key.rsplit("-", 1)[1].split(".")[0]) >= revision, f"{key} is older than revision {revision}")
    expect("Result=success" in on(leaders[0], "systemctl show --property=Result", UNIT).stdout, "the unit has failed")


# Only with --all

def the_timer_fires_at_all_members_and_one_of_each_region_backs_up():
    store.running()
    before = {region: set(store.objects(region)) for region in lab.REGIONS}
    soon = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + 60))
    for host in hosts.all_hosts().hosts.values():
        host.write("etc/systemd/system/leeward-backup.timer.d/soon.conf", f"[Timer]\nOnCalendar={soon}\n")
    on("leeward", "systemctl daemon-reload")
    on("leeward", "systemctl restart leeward-backup.timer")
    came = {}

    def landed():
        for region in lab.REGIONS:
            came[region] = set(store.objects(region)) - before[region]
        return all(came.values())
    wait_for("objects of both regions", landed, 120, every=0.5)
    wait_for("the unit to have ended everywhere", lambda: on("leeward", "systemctl show --property=ActiveState", UNIT).stdout.count("=inactive") == 6, 20)
    landed()
    equal({region: len(keys) for region, keys in came.items()}, {"east": 1, "west": 1}, "objects that came")
    said = on("leeward", "journalctl --identifier leeward-backup --output cat --lines 1 --no-pager").stdout
    equal(said.count("it is the one that backs up"), 4, f"members that left it to their leader\n{said}\n")
    on("leeward", "rm /etc/systemd/system/leeward-backup.timer.d/soon.conf")
    on("leeward", "systemctl daemon-reload")
    figures = on(leader("east"), "cat /var/lib/prometheus/node-exporter/leeward-backup.prom").stdout
    expect(re.search(r"backup_last_verified_timestamp_seconds [1-9]", figures), f"no figure of when:\n{figures}")


def fails(what, by):
    """A backup says so in one sentence, leaves nothing in the store, and the unit failed."""
    run = control.playbook("backup", "-e", "region=east", code=2)
    expect(run.said(f"no backup by {leader('east')}: ") and run.said(by), f"{what}: the playbook does not say {by!r}:\n{run.text[-3000:]}")
    equal(run.changed, {}, f"{what}: hosts that were changed")
    expect("Result=exit-code" in on(leader("east"), "systemctl show --property=Result", UNIT).stdout, f"{what}: the unit has not failed")
    said = on(leader("east"), "journalctl --identifier leeward-backup --output cat --no-pager --since -1min").stdout
    expect("Traceback" not in said, f"{what}: not one line:\n{said}")


def a_backup_that_cannot_be_made_says_why_and_leaves_nothing_half_done():
    before = store.objects("east")
    store.running().stop()
    fails("no store", by=f"cannot list s3://{store.BUCKET}: Could not connect to the endpoint URL")
    store.running().resume()
    equal((store.objects("east"), store.unfinished()), (before, 0), "objects, and uploads that nobody ended")
    who = leader("east")
    folder = "/var/lib/leeward-backup"
    on(who, f"mount -t tmpfs -o size=8m,mode=755,uid=leeward,gid=leeward tmpfs {folder}")
    fails("a small disk", by=f"{folder} has 8 MiB free, and 16 are wanted: make room there")
    on(who, "sed -i s/16,/0,/ /etc/leeward/backup.json")
    fails("a full disk", by="No space left on device")
    on(who, f"umount {folder}")
    on(who, "sed -i 's/\"room_mib\": 0/\"room_mib\": 16/' /etc/leeward/backup.json")
    left = on(who, f"find {folder} -name work").stdout
    expect("work" not in left.partition("(stdout)")[2], f"scratch that was left:\n{left}")
    equal((store.objects("east"), store.unfinished()), (before, 0), "objects, and uploads that nobody ended")
    control.playbook("backup", "-e", "region=east")
    equal(len(store.objects("east")), len(before) + 1, "objects after the next run")


def operators_errors_about_restores_stop_before_harm_with_one_sentence():
    here = f"{lab.HERE}/damaged.snapshot"
    with open(here, "wb") as file:
        file.write(b"LWSNAP01" + bytes(504))
    data = ["-e", "accept_data_loss=true"]
    refused("nothing named", "restore", *data, by="no snapshot is named")
    refused("no such file", "restore", *data, "-e", "from=/nowhere", by="/nowhere is no file here")
    refused("no word on lost data", "restore", "-e", f"from={here}", by="accept_data_loss is not given")
    equal(control.playbook("restore", *data, "-e", f"from={here}", "--check").changed, {}, "hosts that a trial run changed")
    for what, place, by in (("an object that is not there", f"s3://{store.BUCKET}/weekly/none", "Not Found"),
                            ("a damaged file", here, "name another snapshot; nothing was changed")):
        run = control.playbook("restore", *data, "-e", f"from={place}", code=2)
        expect(run.said(by), f"{what}: the playbook does not say {by!r}:\n{run.text[-3000:]}")
    equal([member["healthy"] for member in control.ctl("east", "cluster", "status")["members"]], [True] * 6, "members")


def a_whole_cluster_comes_back_from_an_object():
    store.running()
    control.etcdctl("east", "put", "restored", "this")
    control.etcdctl("east", "put", "deleted", "by mistake")
    run = control.playbook("backup", "-e", "region=east")
    place = re.search(r"s3://\S+\.snapshot", " ".join(run.text.split()))[0]
    lineage = control.ctl("east", "cluster", "status")["lineage"]
    control.etcdctl("east", "put", "restored", "something wrong")
    control.etcdctl("east", "del", "deleted")
    started = time.monotonic()
    run = control.playbook("restore", "-e", f"from={place}", "-e", "accept_data_loss=true")
    print(f"   restore: {time.monotonic() - started:.1f} s", flush=True)
    equal(len([host for host in run.changed if host != "localhost"]), 6, "hosts that were changed")
    equal(control.etcdctl("east", "get", "restored", "--print-value-only").strip(), "this", "what was overwritten")
    wait_for("the other region to have what was deleted", lambda: "by mistake" in control.etcdctl("west", "get", "deleted", "--consistency=s"))
    expect(control.ctl("east", "cluster", "status")["lineage"] != lineage, "it is the old cluster still")
    equal(control.ctl("east", "dr", "status")["armed_region"], "west", "who may take over")
    equal(control.etcdctl("east", "get", "leeward/operator"), "", "the lock afterwards")
    control.playbook("backup")
