"""Playbooks that operate two regions which serve, each under load."""
import re
import time

from leeward.claims import equal, expect
from leeward.cluster import wait_for
import balancer
import control
import hosts
import lab
from under_load import A_FEW, Load

# What a watch is told that had seen a write which the region that is primary now never got.
# What a watch is told that had seen a write which the region that is primary now never got.
LOST = "etcdserver: mvcc: required revision has been compacted"
# What etcd's words are for a write that is not applied, as the leader that it was passed on to hands over.
HANDED_OVER = "etcdserver: leader changed"
PAUSE = 3000  # ms, of one client whose member restarts or hands over: it connects anew and asks again


def of(region):
    return [host for host in hosts.all_hosts().hosts.values() if host.address.startswith(lab.REGIONS[region])]


def refused(what, name, *words, by):
    """The playbook stops with this sentence and changes nothing."""
    run = control.playbook(name, *words, code=2)
    expect(run.said(by), f"{what}: the playbook does not say {by!r}:\n{run.text[-3000:]}")
    expect(len(re.findall(r"^(fatal|failed): ", run.text, re.M)) == 1, f"{what}: more than one sentence:\n{run.text[-3000:]}")
    equal(run.changed, {}, f"{what}: hosts that were changed")


def starts():
    """When each host started leeward last."""
    done = control.command("ansible", "-i", control.inventory(), "leeward", "-b", "-m", "command", "-a",
                           "systemctl show --property=ExecMainStartTimestampMonotonic --value leeward", "--one-line")
    return dict(re.findall(r"^(\S+) \| .*\(stdout\) (\d+)", done.stdout, re.M))


def a_rolling_restart_under_load_loses_nothing_and_refuses_only_what_a_leader_hands_over():
    before = starts()
    equal(len(before), 6, "hosts that answer")
    with Load("rolling-restart") as load:
        run = control.playbook("rolling-restart")
    equal(len(run.changed), 6, "hosts that were changed")
    after = starts()
    equal([host for host in before if before[host] == after[host]], [], "members that were not restarted")
    load.lost_and_was_refused_nothing(PAUSE, but=HANDED_OVER)
    equal(control.etcdctl("east", "get", "leeward/operator"), "", "the lock afterwards")


LOSS = ["-e", "accept_data_loss=true"]


def operators_errors_stop_before_harm_with_one_sentence():
    refused("no digest", "promote", by="no digest is given: read playbooks/plan.yaml")
    refused("no word on lost data", "promote", "-e", "digest=12", by="accept_data_loss is not given")
    refused("no such region", "promote", "-e", "digest=12", *LOSS, "-e", "region=north",
            by="name one of east, west by -e region=")
    refused("no such region", "switchover", "-e", "to=north", by="name one of east, west by -e to=")
    refused("nothing was lost", "failback", by="no other region than east is primary")
    refused("a primary that lives", "promote", "-e", "digest=12", *LOSS, by="refused by primary_heard")
    lease = control.etcdctl("east", "lease", "grant", "600").split()[1]
    control.etcdctl("east", "put", f"--lease={lease}", "leeward/operator", "bob 2026-01-01T00:00:00Z failback")
    refused("a second operator", "switchover", "-e", "to=west", by="bob has been at it since 2026-01-01T00:00:00Z (playbook failback)")
    refused("a second operator who breaks another one's", "switchover", "-e", "to=west", "-e", "break_lock=alice",
            by="add -e break_lock=bob")
    refused("a lock that was broken", "promote", "-e", "digest=12", *LOSS, "-e", "break_lock=bob",
            by="refused by primary_heard")
    equal(control.etcdctl("east", "get", "leeward/operator"), "", "the lock afterwards")


def timed(name, *words, **more):
    started = time.monotonic()
    run = control.playbook(name, *words, **more)
    return run, time.monotonic() - started


def a_region_that_is_powered_off_is_replaced_by_plan_and_promote():
    with Load("loss of a region, plan, promote") as load, Load("the same, through the balancer", balancer.WRITES) as through:
        _, healthy = timed("plan")
        for host in of("east"):
            host.power_off()
        wait_for("west to miss the primary", lambda: not control.ctl("west", "dr", "status").get("primary_heard"))
        plan, dead = timed("plan")
        print(f"   plan: {dead:.1f} s, {healthy:.1f} s before", flush=True)
        expect(dead < healthy + 10, f"dead hosts cost {dead - healthy:.1f} s")
        digest = re.search(r"-e digest=([0-9a-f]+)", " ".join(plan.text.split()))
        expect(digest, f"no digest is printed:\n{plan.text[-3000:]}")
        words = ["-e", f"digest={digest[1]}", *LOSS]
        refused("another digest", "promote", "-e", "digest=12", *LOSS, by="digest=12 is not of the plan as it is now")
        hold_by_file("west", "bob 2026-01-01T00:00:00Z promote")
        refused("a second operator", "promote", *words, by="bob has been at it since 2026-01-01T00:00:00Z (playbook promote)")
        run, seconds = timed("promote", *words, "-e", "break_lock=bob")
        print(f"   promote: {seconds:.1f} s", flush=True)
        equal(list(run.changed), ["localhost"], "hosts that were changed")
        for client in (load, through):
            wait_for(f"the client of {client.what} to write again", lambda c=client: rising("west", c.counter), 60)
    for client in (load, through):
        expect(client.faults in ([], [LOST]), f"faults of the watch during {client.what}: {client.faults[:3]}")
    balancer.leads_writes_to("west")
    equal(control.playbook("promote", *words).changed, {}, "hosts that a second promotion changed")
    down = control.playbook("rolling-restart", code=2)
    expect(down.said("does not answer by SSH at 10.101.0.10: start it, or leave it out by --limit"),
           f"hosts that are down are not named:\n{down.text[-3000:]}")
    equal(down.changed, {}, "hosts that were changed while others were down")


def hold_by_file(region, text):
    """The lock, as an operator holds it where nobody can write."""
    status = control.ctl(region, "cluster", "status")
    leader = next(member["name"] for member in status["members"] if member["id"] == status["leader_id"])
    done = control.command("ansible", "-i", control.inventory(), leader, "-b", "-m", "ansible.builtin.copy", "-a",
                           f"content='{text}' dest=/run/lock/leeward-operator mode=0644")
    expect(done.returncode == 0, f"the lock cannot be written:\n{done.stdout}")


def rising(region, counter):
    """Whether the load's counter goes up."""
    before = control.etcdctl(region, "get", counter, "--print-value-only")
    return wait_for("another write", lambda: control.etcdctl(region, "get", counter, "--print-value-only") != before, 2, every=0.2)


def the_lost_region_comes_back_by_failback():
    for host in of("east"):
        host.start()
    hosts.all_hosts().wait()
    wait_for("east to be heard", lambda: control.ctl("east", "dr", "status"), 60, every=0.5)
    with Load("failback") as load:
        run = control.playbook("failback")
    equal(list(run.changed), ["localhost"], "hosts that were changed")
    load.lost_and_was_refused_nothing(PAUSE)
    equal(control.ctl("west", "dr", "status")["armed_region"], "east", "who may take over")
    equal(control.playbook("failback").changed, {}, "hosts that a second failback changed")


# Only with --all

def a_drill_passes_in_the_region_that_follows():
    with Load("drill") as load:
        run = control.playbook("drill", "-e", "region=east")
    expect(run.said("- drill passed"), f"it does not say so:\n{run.text[-3000:]}")
    equal(run.changed, {}, "hosts that were changed")
    load.lost_and_was_refused_nothing(PAUSE)


def a_switchover_home_loses_and_refuses_nothing():
    equal(control.playbook("switchover", "-e", "to=east", "--check").changed, {}, "hosts that a trial run changed")
    equal(control.ctl("east", "dr", "status")["role"], "standby", "east after a trial run")
    with Load("switchover") as load, Load("switchover, through the balancer", balancer.WRITES) as through:
        run = control.playbook("switchover", "-e", "to=east")
        wait_for("the balancer to lead writes to east", lambda: balancer.sessions("east") and not balancer.sessions("west"))
        wait_for("its client to write there", lambda: rising("east", through.counter))
    equal(list(run.changed), ["localhost"], "hosts that were changed")
    load.lost_and_was_refused_nothing(PAUSE)
    through.lost_nothing(PAUSE, A_FEW)
    balancer.leads_writes_to("east")
    equal(control.ctl("east", "dr", "status")["role"], "primary", "east")
    equal(control.playbook("switchover", "-e", "to=east").changed, {}, "hosts that a second switchover changed")


def serials():
    """Of the certificate that each member's client port shows."""
    found = {}
    for name, address in control.addresses().items():
        shown = control.command("sh", "-c", f"openssl s_client -connect {address}:2379 </dev/null 2>/dev/null |"
                                            " openssl x509 -noout -serial")
        found[name] = re.search(r"serial=(\w+)", shown.stdout)[1]
    return found


def certificates_are_rotated_without_a_restart_or_a_dropped_client():
    before, running = serials(), starts()
    with Load("rotate-certificates") as load:
        connections = load.connections()
        expect(connections, "the client has no connection")
        run = control.playbook("rotate-certificates")
        equal(load.connections(), connections, "connections of the client")
    equal(len(run.changed), 6, "hosts that were changed")
    after = serials()
    equal([host for host in before if before[host] == after[host]], [], "members that show the old certificate")
    equal(starts(), running, "when the members were started")
    load.lost_and_was_refused_nothing(PAUSE)


def a_host_that_is_lost_in_the_middle_stops_a_rolling_restart_before_the_others():
    before, lost = starts(), of("west")[1]
    run = control.interrupted("rolling-restart", f"included: leeward for {lost.name}", lost.power_off)
    expect(run.said("stopped at leeward-west-12, which does not answer by SSH any more: those behind it go on as they were"),
           f"the host is not named:\n{run.text[-3000:]}")
    expect(run.said("--limit leeward-west-12,leeward-west-13,leeward-east-1,leeward-east-2,leeward-east-3 goes on"),
           f"it is not said how to go on:\n{run.text[-3000:]}")
    after = starts()
    equal([host for host in after if before[host] != after[host]], ["leeward-west-11"], "members that were restarted")
    equal(control.etcdctl("east", "get", "leeward/operator"), "", "the lock afterwards")
    lost.start()
    wait_for("all members to be well", lambda: all(member["healthy"] for member in control.ctl("east", "cluster", "status")["members"]),
             60, every=0.5)


def trial_runs_change_nothing():
    before = serials(), starts()
    for name in ("rolling-restart", "rotate-certificates", "collect-diagnostics", "backup"):
        control.playbook(name, "--check")
    equal((serials(), starts()), before, "certificates, and when the members were started")
    equal(control.etcdctl("east", "get", "leeward/operator"), "", "the lock afterwards")


def diagnostics_come_from_each_host_that_answers():
    _, healthy = timed("collect-diagnostics", "-e", f"diagnostics={lab.HERE}/healthy")
    of("west")[0].power_off()
    with Load("collect-diagnostics") as load:
        run, dead = timed("collect-diagnostics", "-e", f"diagnostics={lab.HERE}/diagnostics")
    print(f"   collect-diagnostics: {dead:.1f} s, {healthy:.1f} s before", flush=True)
    expect(dead < healthy + 10, f"a dead host costs {dead - healthy:.1f} s")
    expect(run.said("does not answer by SSH at 10.102.0.10: nothing is taken from it"),
           f"the host that is down is not named:\n{run.text[-3000:]}")
    files = control.command("sh", "-c", f"cd {lab.HERE}/diagnostics/*/ && wc -c *").stdout
    equal(len(re.findall(r"^ *[1-9]\d+ leeward", files, re.M)), 15, f"files with something in them\n{files}\n")
    load.lost_and_was_refused_nothing(PAUSE)
