"""Members that come, go and take another's place, under load, by a playbook each."""
import json
import os

from leeward.claims import equal, expect
import control
import hosts
import lab
from operations import PAUSE, refused
from under_load import Load


def voters(region):
    """By name; whether each is well."""
    return {member["name"]: member["healthy"] for member in control.ctl(region, "cluster", "status")["members"]
            if member["region"] == region and member.get("voter")}


def well(region, *numbers):
    equal(voters(region), {f"leeward-{region}-{number}": True for number in numbers}, f"voters of {region}, and whether they are well")


def lock_is_free():
    equal(control.etcdctl("east", "get", "leeward/operator"), "", "the lock afterwards")


def a_host_that_is_lost_with_its_disks_is_replaced_under_load():
    lost = hosts.all_hosts().hosts["leeward-east-3"]
    lost.power_off()
    hosts.all_hosts().reinstall(lost.name).start()
    hosts.all_hosts().wait()
    with Load("replace-member") as load:
        run = control.playbook("replace-member", "-e", f"old={lost.name}")
    equal(sorted(run.changed), [lost.name], "hosts that were changed")
    load.lost_and_was_refused_nothing(PAUSE)
    well("east", 1, 2, 3)
    equal(control.playbook("replace-member", "-e", f"old={lost.name}").changed, {}, "hosts that a second run changed")
    lock_is_free()


# Only with --all

def spare(*numbers):
    """Further hosts of east, up."""
    made = hosts.all_hosts()
    for number in numbers:
        name = f"leeward-east-{number}"
        if name in made.hosts:
            made.reinstall(name)
        else:
            made.add(name, f"{lab.REGIONS['east']}.{9 + number}")
        made.hosts[name].start()
    made.wait()


def swapped(gone, come):
    """The inventory in which another host of east has taken one's place."""
    with open(control.laid_out(5), encoding="utf-8") as file:
        known = json.load(file)
    primary, leave = known["all"]["children"]["leeward"]["children"]["primary"]["hosts"], {1, 2, 3, 4, 5} - {1, 2, 3} - {come} | {gone}
    members = known["all"]["vars"]["leeward_members"]
    members["primary"] = [member for member in members["primary"] if member["id"] not in leave]
    for number in leave:
        del primary[f"leeward-east-{number}"]
    path = os.path.join(lab.HERE, f"inventory-{come}-for-{gone}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(known, file)
    return path


NEW = "leeward-east-4,leeward-east-5"


def operators_errors_about_members_stop_before_harm_with_one_sentence():
    refused("nobody named", "add-member", by="no host is named; name hosts of it by -e member=HOST[,HOST]")
    refused("an unknown host", "add-member", "-e", f"member={NEW}", by="not in the inventory: leeward-east-4, leeward-east-5; name hosts of it")
    refused("hosts of two regions", "add-member", "-e", "member=leeward-east-1,leeward-west-11", by="stand in more than one region")
    refused("nobody named", "remove-member", by="no member is named")
    refused("an unknown member", "remove-member", "-e", "member=leeward-north-1", by="leeward-north-1 is neither a member nor in the inventory")
    refused("an even number", "remove-member", "-e", "member=leeward-east-1",
            by="2 voters would be left in region east (leeward-east-2, leeward-east-3), which survive no more losses than one less")
    refused("nobody named", "replace-member", by="no member is named: name the one that is lost by -e old=HOST")
    refused("one that stands there still", "replace-member", "-e", "old=leeward-east-1", "-e", "new=leeward-east-2",
            by="leeward-east-1 stands in the inventory still: put leeward-east-2 into its place there")
    refused("no certificates", "replace-member", "-e", "old=leeward-east-1", "-e", f"tls_directory={lab.HERE}/nowhere",
            by=f"root.pem and ops.pem and ops.key are not in {lab.HERE}/nowhere: bring that folder back from its copy")
    refused("--limit", "replace-member", "-e", "old=leeward-east-1", "--limit", "primary", by="--limit is not for this playbook")
    lease = control.etcdctl("east", "lease", "grant", "600").split()[1]
    control.etcdctl("east", "put", f"--lease={lease}", "leeward/operator", "bob 2026-01-01T00:00:00Z failback")
    with control.going_by(control.laid_out(5)):
        refused("a host that is not there", "add-member", "-e", f"member={NEW}",
                by="leeward-east-4 does not answer by SSH at 10.101.0.13: start it, or take it out of the inventory; no host was touched")
    control.etcdctl("east", "lease", "revoke", lease)
    well("east", 1, 2, 3)


def hosts_are_added_under_load_and_removed_again():
    spare(4, 5)
    hosts.all_hosts().hosts["leeward-east-4"].write("var/lib/leeward/of-another-life", "")
    with control.going_by(control.laid_out(5)):
        refused("a host with data", "add-member", "-e", f"member={NEW}",
                by="leeward-east-4 holds data of a member (/var/lib/leeward/of-another-life), and is none of this group")
        control.command("ansible", "-i", control.inventory(), "leeward-east-4", "-b", "-m", "file", "-a", "path=/var/lib/leeward state=absent")
        refused("site before it", "site", by="leeward-east-4, leeward-east-5 are no members of the group that serves: run playbooks/add-member.yaml")
        equal(control.playbook("add-member", "-e", f"member={NEW}", "--check").changed, {}, "hosts that a trial run changed")
        well("east", 1, 2, 3)
        lease = control.etcdctl("east", "lease", "grant", "600").split()[1]
        control.etcdctl("east", "put", f"--lease={lease}", "leeward/operator", "bob 2026-01-01T00:00:00Z failback")
        refused("a second operator", "add-member", "-e", f"member={NEW}", by="bob has been at it since 2026-01-01T00:00:00Z (playbook failback)")
        with Load("add-member, two hosts") as load:
            control.playbook("add-member", "-e", f"member={NEW}", "-e", "break_lock=bob")
        load.lost_and_was_refused_nothing(PAUSE)
        well("east", 1, 2, 3, 4, 5)
        equal(control.playbook("add-member", "-e", f"member={NEW}").changed, {}, "hosts that a second run changed")
        equal(control.playbook("remove-member", "-e", f"member={NEW}", "--check").changed, {}, "hosts that a trial run changed")
        with Load("remove-member, two hosts") as load:
            run = control.playbook("remove-member", "-e", f"member={NEW}")
        equal(sorted(run.changed), ["leeward-east-4", "leeward-east-5"], "hosts that were changed")
        load.lost_and_was_refused_nothing(PAUSE)
        well("east", 1, 2, 3)
        equal(control.playbook("remove-member", "-e", f"member={NEW}").changed, {}, "hosts that a second removal changed")
        lock_is_free()
    for name in NEW.split(","):
        hosts.all_hosts().hosts[name].power_off()


def another_host_takes_the_place_of_one_that_is_lost_and_gives_it_back():
    lost = hosts.all_hosts().hosts["leeward-east-3"]
    spare(4)
    lost.power_off()
    with control.going_by(swapped(gone=3, come=4)):
        with Load("replace-member, by another host") as load:
            run = control.playbook("replace-member", "-e", "old=leeward-east-3", "-e", "new=leeward-east-4")
        load.lost_and_was_refused_nothing(PAUSE)
        expect(run.said("leeward-east-3 does not answer by SSH at 10.101.0.12: when it comes back it serves nobody"),
               f"the lost host is not named:\n{run.text[-3000:]}")
        well("east", 1, 2, 4)
        equal(control.playbook("replace-member", "-e", "old=leeward-east-3", "-e", "new=leeward-east-4").changed, {}, "hosts that a second run changed")
    spare(3)
    with Load("replace-member, of one that serves") as load:
        run = control.playbook("replace-member", "-e", "old=leeward-east-4", "-e", "new=leeward-east-3")
    load.lost_and_was_refused_nothing(PAUSE)
    expect("leeward-east-4" in run.changed, "leeward was not stopped at the one that went")
    well("east", 1, 2, 3)
    hosts.all_hosts().hosts["leeward-east-4"].power_off()


def a_host_that_is_lost_while_it_comes_stops_the_playbook_which_goes_on_when_it_is_back():
    coming = hosts.all_hosts().hosts["leeward-east-3"]
    coming.power_off()
    spare(3)
    words = ["-e", "old=leeward-east-3"]
    run = control.interrupted("replace-member", "TASK [operate : Start it]", coming.power_off, *words)
    expect(run.said("playbooks/replace-member.yaml -e old=leeward-east-3 -e new=leeward-east-3"), f"it is not said how to go on:\n{run.text[-3000:]}")
    lock_is_free()
    coming.start()
    hosts.all_hosts().wait()
    control.playbook("replace-member", *words)
    well("east", 1, 2, 3)
