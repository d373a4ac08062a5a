"""rolling-upgrade between two packages that differ in version, under load: one broken off, rolled back, and one that goes through."""
from leeward.claims import equal, expect
from leeward.cluster import wait_for
import control
import hosts
from operations import HANDED_OVER, PAUSE, refused, starts
from under_load import Load

LATER, OLDER = "0.2.0", "0.0.9"


def versions():
    """What each member says that it runs."""
    return {member["name"]: member["version"] for member in control.ctl("east", "cluster", "status")["members"]}


def own():
    return control.package().rsplit("_", 2)[1]


def upgrade(version=None, *words):
    return control.playbook("rolling-upgrade", "-e", f"leeward_package={control.package(version)}", *words)


def fill(host, place):
    done = control.command("ansible", "-i", control.inventory(), host, "-b", "-m", "command", "-a", f"mount -t tmpfs -o size=4m full {place}")
    expect(done.returncode == 0, done.stdout)


def empty(host, place):
    done = control.command("ansible", "-i", control.inventory(), host, "-b", "-m", "command", "-a", f"umount {place}")
    expect(done.returncode == 0, done.stdout)


def what_speaks_against_an_upgrade_is_found_before_it():
    before = starts()
    later = ["-e", f"leeward_package={control.package(LATER)}"]
    refused("no package", "rolling-upgrade", "-e", "leeward_package=/nowhere/leeward_1_amd64.deb", by="is no package of leeward: name a file")
    fill("leeward-east-2", "/var/cache")
    refused("a full disk", "rolling-upgrade", *later, by="leeward-east-2: /var/cache has 4 MiB free, and 128 are wanted")
    empty("leeward-east-2", "/var/cache")
    equal((versions(), starts()), (dict.fromkeys(before, own()), before), "versions, and when the members were started")


def there_is_no_way_back_to_a_version_that_does_not_know_the_format():
    before = starts()
    package = control.package(OLDER, formats_later=-1)
    run = control.playbook("rolling-upgrade", "-e", f"leeward_package={package}", "-e", "rollback=true", code=2)
    expect(run.said(f"and {OLDER} knows none newer than 1: there is no way back to it"), f"it is not said why:\n{run.text[-3000:]}")
    equal((versions(), starts()), (dict.fromkeys(before, own()), before), "versions, and when the members were started")


def an_upgrade_that_is_broken_off_is_rolled_back():
    lost, before = hosts.all_hosts().hosts["leeward-west-12"], starts()
    later = ["-e", f"leeward_package={control.package(LATER)}"]
    with Load("rolling-upgrade, broken off") as load:
        run = control.interrupted("rolling-upgrade", f"included: {control.ANSIBLE}/roles/leeward/tasks/fit.yaml for {lost.name}", lost.power_off, *later)
    equal(load.faults[:3], [], "faults of the watch")  # who was connected to the lost host has an error
    expect(run.said(f"stopped at {lost.name}") and run.said("playbooks/rolling-upgrade.yaml -e leeward_package="),
           f"it is not said how to go on:\n{run.text[-3000:]}")
    equal(control.etcdctl("east", "get", "leeward/operator"), "", "the lock afterwards")
    lost.start()
    hosts.all_hosts().wait()
    wait_for("all members to be well", lambda: all(member["healthy"] for member in control.ctl("east", "cluster", "status")["members"]), 60, every=0.5)
    found = versions()
    equal(found.pop("leeward-west-11"), LATER, "the version of the first")
    found.pop(lost.name)  # its start may have taken what was installed
    equal(set(found.values()), {own()}, "versions of those that had no turn")
    refused("the older one by mistake", "rolling-upgrade", by="add -e rollback=true")
    with Load("rolling-upgrade, rolled back") as load:
        run = upgrade(None, "-e", "rollback=true")
    load.lost_and_was_refused_nothing(PAUSE)
    equal(set(versions().values()), {own()}, "versions after the way back")
    equal([host for host in run.changed if host not in ("leeward-west-11", lost.name)], [], "others that were changed")


def a_rolling_upgrade_under_load_loses_nothing_and_its_second_run_changes_nothing():
    before = starts()
    upgrade(LATER, "--check")
    equal((versions(), starts()), (dict.fromkeys(before, own()), before), "versions, and when the members were started, after a trial run")
    with Load("rolling-upgrade") as load:
        upgrade(LATER)
    load.lost_and_was_refused_nothing(PAUSE, but=HANDED_OVER)
    equal(versions(), dict.fromkeys(before, LATER), "versions")
    equal(upgrade(LATER).changed, {}, "hosts that a second run changed")
    with Load("rolling-upgrade, all the way back") as load:
        upgrade(None, "-e", "rollback=true")
    load.lost_and_was_refused_nothing(PAUSE, but=HANDED_OVER)
    equal(versions(), dict.fromkeys(before, own()), "versions")
