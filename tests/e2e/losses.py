"""Whatever is lost, documented commands bring back a cluster that serves (standby/README.md, "What is lost, and what to
type"): real nodes, leewardctl, and nothing else."""
import json
import signal
import time

from leeward.claims import equal, expect, metric
from leeward.cluster import Cluster, ctl, etcdctl, wait_for

from members import add, at, newcomer, says_it_was_removed

SILENCE = {"dr": {"primary_silence": "1s"}}


def dr(nodes, *args, code=0):
    endpoints = ",".join(n.client for n in nodes)
    done = ctl("--endpoints", endpoints, "-o", "json", "dr", *args, check=False, timeout=90, again=True)
    equal(done.returncode, code, f"leewardctl dr {' '.join(args)}: {done.stdout}{done.stderr}; exit code")
    return json.loads(done.stdout) if code == 0 else done.stderr


def by_the_book(nodes, *flags, rules=""):
    """A plan, and just the command that it names."""
    def by_these():
        plan = dr(nodes, "plan", *flags)  # that one is carried out: another one may find somebody silent
        return plan if " ".join(r["rule"] for r in plan["refusals"]) == rules and not plan["silent"] else None
    plan = wait_for(f"the rules {rules or '(none)'} to be all that refuses", by_these, 40)
    command = plan["next_command" if plan["allowed"] else "force_command"].split()
    equal(command[:3], ["leewardctl", "dr", "promote"], str(plan))
    expect("--accept-data-loss" in command, str(command))
    if rules:
        equal(command[command.index("--force") + 1], rules.replace(" ", ","), "the flags that the plan names")
    region = [f for i, f in enumerate(flags) if f == "--region" or (i and flags[i - 1] == "--region")]
    began = time.monotonic()
    done = dr(nodes, *command[2:], *region, "--reason", "lost")
    print(f"       {' '.join(command[3:])}: {(time.monotonic() - began) * 1000:.0f} ms, epoch {done['epoch']}")
    return plan, done


def begun(c, count=20):
    c.start().wait_ready(timeout=60)
    wait_for("eligible", lambda: all(s["promotion_eligible"] for s in json.loads(
        ctl("--endpoints", c.endpoints, "-o", "json", "standby", "status").stdout)["standbys"]), 30)
    leader = c.leader()
    for i in range(count):
        leader.put(f"k{i}", str(i))
    # By the last write: a status is that of a moment ago.
    wait_for("the standby to have it all", lambda: all(n.value(f"k{count - 1}", serializable=True) == str(count - 1) for n in c.standby))


def serves(node, epoch, count=20):
    endpoint = node.client
    wait_for(f"{node.name} to be primary", lambda: node.ok("/primary"), 30)
    etcdctl(endpoint, "put", "after", "the loss")
    equal(etcdctl(endpoint, "get", "k7", "--print-value-only").stdout, "7\n")
    equal(etcdctl(endpoint, "get", f"k{count - 1}", "--print-value-only").stdout, f"{count - 1}\n")
    revision = json.loads(etcdctl(endpoint, "get", "after", "-w", "json").stdout)["header"]["revision"]
    expect(revision > int(epoch) << 44, f"revision {revision} of epoch {epoch}")
    equal(metric(node, "dr_contested"), 0)


def the_primary_region_and_all_but_one_standby_are_lost():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        left, lost = c.standby[0], c.standby[1:]
        for n in c.active + lost:
            n.kill()
        wait_for("the group to have no leader", lambda: left.status()["leader_id"] == "0")
        refused = dr([left], "plan", code=1)
        expect("--members" in refused, refused)
        wrong = dr([left], "plan", "--members", f"{left.id},{lost[0].id}")
        expect(wrong["refusals"][0]["rule"] == "silent" and "force_command" not in {k for k, v in wrong.items() if v}, str(wrong))
        plan, done = by_the_book([left], "--members", str(left.id), rules="no_quorum")
        equal(plan["members"], [str(left.id)], "members")
        equal(plan["known_loss_writes"], "0", "known loss")
        again = dr([left], "promote", "--digest", plan["digest"], "--members", str(left.id), "--accept-data-loss", "--force", "no_quorum")
        expect(again["repeated"] and again["promotion_id"] == done["promotion_id"], str(again))
        serves(left, done["epoch"])
        for n in lost:
            n.start()
        for n in lost:
            says_it_was_removed(n)
        serves(left, done["epoch"])
        for n in c.active:
            n.start()
        wait_for("the old primary to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in c.active))
        left.kill()
        left.start()
        serves(left, done["epoch"])


def a_primary_that_lost_its_majority_and_its_standby_goes_on():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        left, lost = c.active[0], c.active[1:]
        for n in c.standby + lost:
            n.kill()
        wait_for("the group to have no leader", lambda: left.status()["leader_id"] == "0")
        plan, done = by_the_book([left], "--members", str(left.id), rules="no_quorum")
        expect("unknown_since" not in plan, "what the lost members had is unknown without bound: " + str(plan))
        serves(left, done["epoch"])
        # The standby region comes back and is no primary beside it.
        for n in c.standby:
            n.start()
        wait_for("the standbys to be up", lambda: all(n.ok("/livez") for n in c.standby))
        time.sleep(3)
        expect(not any(n.ok("/primary") for n in c.standby), "two primaries")
        for n in lost:
            n.start()
        for n in lost:
            says_it_was_removed(n)
        serves(left, done["epoch"])


def the_standby_takes_over_when_the_primary_has_lost_its_majority():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        for n in c.active[1:]:
            n.kill()
        _, done = by_the_book(c.standby)
        equal(done["epoch"], "2", "an ordinary promotion")
        serves(c.standby[0], 2)
        wait_for("what is left of the old primary to be fenced", lambda: c.active[0].status()["role"] == "fenced")


def the_new_primary_burns_and_the_fenced_old_one_takes_over():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        for n in c.active:
            n.kill()
        by_the_book(c.standby)
        for n in c.standby:
            wait_for(f"{n.name} to be primary", lambda n=n: n.ok("/primary"))
        c.standby[0].put("lost", "with west")
        for n in c.active:
            n.start()
        wait_for("the old primary to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" and n.status()["leader_id"] != "0"
                                                            for n in c.active))
        for n in c.standby:
            n.kill()
        plan, done = by_the_book(c.active, "--region", "east", rules="not_armed newer_epoch")
        equal(plan["newest_known_epoch"], "2", "the plan names the epoch that is lost")
        expect(plan["epoch_drawn"] and 4 <= int(done["epoch"]) <= 1026, str(done))
        for n in c.active:
            serves(n, done["epoch"])
        equal(etcdctl(c.active[0].client, "get", "lost").stdout, "")
        # What burned comes back, and is fenced in its turn.
        for n in c.standby:
            n.start()
        wait_for("west to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in c.standby))
        serves(c.active[1], done["epoch"])


def the_new_primary_burns_and_one_node_of_the_old_one_is_left():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        for n in c.active:
            n.kill()
        by_the_book(c.standby)
        for n in c.active:
            n.start()
        wait_for("the old primary to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in c.active))
        for n in c.standby + c.active[1:]:
            n.kill()
        left = c.active[0]
        _, done = by_the_book([left], "--members", str(left.id), rules="no_quorum newer_epoch")
        serves(left, done["epoch"])


def a_primary_sealed_for_a_region_that_burns_is_reclaimed():
    with Cluster(active=3, standby=3, settings={"dr": {"primary_silence": "1s", "switchover_timeout": "1s"}}) as c:
        begun(c)
        state = lambda: dr(c.active, "status")["state"]
        said = dr(c.active, "reclaim", code=3)
        expect("not_sealed" in said and said.count("\n") == 1, said)
        # It dies at the worst moment: it has been asked, and has not answered.
        for n in c.standby:
            n.process.send_signal(signal.SIGSTOP)
        began = ctl("--endpoints", c.endpoints, "dr", "switchover", "--to", "west", check=False, timeout=90)
        expect(began.returncode != 0, began.stdout)
        for n in c.standby:
            n.kill()
        wait_for("east to say that it is sealed", lambda: state() == "sealed")
        def next_step():
            told = dr(c.active, "status")["next_command"]
            expect(told.startswith("start members 11, 12, 13 of region west") and "leewardctl dr reclaim" in told, told)
            return True
        wait_for("the next step", next_step)
        said = dr(c.active, "reclaim", code=3)
        expect(said.count("\n") == 1 and "dr abort" in said, said)
        command = said.split("leewardctl dr ")[-1].split()
        equal(command, ["reclaim", "--force", "sealed,not_armed"])
        said = dr(c.active, "reclaim", "--force", "sealed", code=3)
        expect("not_armed" in said, said)
        done = dr(c.active, *command, "--reason", "west burns")
        equal((done["state"], done["next_command"]), ("serving", "leewardctl dr status --history"))
        expect(int(done["epoch"]) > 2, str(done))
        for n in c.active:
            serves(n, done["epoch"])
        last = dr(c.active, "status", "--history")["history"][-1]
        expect(last["forced"] and last["region"] == "east" and last["reason"] == "west burns", str(last))
        # And should it not have burned after all, it follows.
        for n in c.standby:
            n.start()
        wait_for("west to follow", lambda: all(n.value("after", serializable=True) == "the loss" for n in c.standby), 60)


def a_standby_that_lost_its_majority_begins_anew():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        for n in c.standby:
            n.kill()
            n.wipe()
        c.active[0].put("meanwhile", "east serves")
        for n in c.standby:
            n.start()
        wait_for("west to follow again", lambda: all(n.alive and n.value("meanwhile", serializable=True) == "east serves" for n in c.standby), 60)


def a_primary_region_on_new_disks_follows_and_takes_over_again():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        *fresh, late = c.active
        for n in c.active:
            n.kill()
        for n in fresh:
            n.wipe()
            n.start()
        wait_for("it to say what it waits for", lambda: all("another region to serve" in n.status()["waiting_for"] for n in fresh), 20)
        _, done = by_the_book(c.standby)
        serves(c.standby[0], done["epoch"])
        followed = lambda n: n.alive and n.value("after", serializable=True) == "the loss"
        wait_for("east to follow", lambda: all(followed(n) for n in fresh), 60)
        # What the third one is part of is no more: it disturbs nobody, and comes back on an empty disk.
        late.start()
        wait_for("it to say where it belongs", lambda: not late.alive or late.status()["role"] == "fenced", 30)
        serves(c.standby[0], done["epoch"])
        expect(all(n.status()["role"] == "standby" for n in fresh), "the others stay")
        late.kill()
        late.wipe()
        late.start()
        wait_for("it to be admitted", lambda: ctl("--endpoints", fresh[0].client, "member", "admit", late.id, check=False).returncode == 0, 30)
        wait_for("it to follow", lambda: followed(late), 60)
        wait_for("east to be armed", lambda: dr(c.standby, "status")["armed_region"] == "east", 30)
        wait_for("east to be eligible", lambda: all(n.ok("/standby/eligible") for n in c.active), 30)
        back = wait_for("east to be primary", lambda: ctl("--endpoints", ",".join(n.client for n in c.nodes), "dr", "switchover", "--to", "east",
                                                           check=False, timeout=60).returncode == 0, 60)
        expect(back, "a switchover")
        wait_for("east to be primary", lambda: c.active[0].ok("/primary"), 30)
        etcdctl(c.active[0].client, "put", "home", "again")
        equal([c.active[0].value(key) for key in ("k7", "after", "home")], ["7", "the loss", "again"])


def an_old_primary_whose_majority_lost_its_disks_begins_anew():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        *fresh, left = c.active
        for n in c.active:
            n.kill()
        _, done = by_the_book(c.standby)
        serves(c.standby[0], done["epoch"])
        for n in fresh:
            n.wipe()
        for n in c.active:
            n.start()

        def next_step():
            told = dr([left], "status")["next_command"]
            expect(told.startswith("members 1, 2 run on empty disks") and "empty the directory of member 3 too" in told, told)
            return True
        wait_for("the next step", next_step, 30)
        kept = f"{c.dir}/kept"
        ctl("--endpoints", left.client, "snapshot", "save", kept, timeout=60)
        equal(json.loads(ctl("-o", "json", "snapshot", "status", kept).stdout)["sound"], True)
        left.kill()
        left.wipe()
        left.start()
        wait_for("east to follow", lambda: all(n.alive and n.value("after", serializable=True) == "the loss" for n in c.active), 60)
        serves(c.standby[0], done["epoch"])


def a_member_of_a_region_that_grew_does_not_begin_anew_by_its_old_file():
    with Cluster(active=1, standby=1, settings=SILENCE) as c:
        begun(c)
        one, west = c.active[0], c.standby[0]
        others = [newcomer(c, 2), newcomer(c, 3)]
        try:
            for n in others:
                add(one, n)
                n.start()
                at(one, "member", "wait-sync", n.id, "--timeout", "60s")
                wait_for(f"a vote of {n.name}", lambda n=n: "votes now" in at(one, "member", "promote", n.id))
            c.wait_ready(others)
            west.kill()
            one.put("only", "east")
            wait_for("all of east to have it", lambda: all(n.value("only", serializable=True) == "east" for n in others))
            for n in (one, *others):
                n.kill()
            west.start()
            _, done = by_the_book([west])
            serves(west, done["epoch"])
            # Its file lists it alone; the other two, a majority, are whole and only late.
            one.wipe()
            one.start()
            def waits():
                expect("silent: node 2" in one.status()["waiting_for"], f"{one.status()}")
                return True
            wait_for("it to wait for the others", waits, 10)
            time.sleep(4)  # longer than it would listen before it begins
            expect("silent: node 2" in one.status()["waiting_for"], str(one.status()))
            for n in others:
                n.start()
            wait_for("them to be fenced", lambda: all(n.status()["role"] == "fenced" for n in others), 30)
            wait_for("the way back", lambda: ctl("--endpoints", others[0].client, "dr", "rejoin", check=False, timeout=90).returncode == 0, 60)
            equal([l["writes"] for l in dr([others[0]], "ledger", "show")["ledgers"]], ["1"], "writes put aside")
            wait_for("its admission", lambda: ctl("--endpoints", others[0].client, "member", "admit", one.id, check=False).returncode == 0, 60)
            wait_for("east to follow", lambda: all(n.value("after", serializable=True) == "the loss" for n in (one, *others)), 60)
        finally:
            for n in others:
                n.kill()


ALL = [the_primary_region_and_all_but_one_standby_are_lost, a_primary_that_lost_its_majority_and_its_standby_goes_on,
       the_standby_takes_over_when_the_primary_has_lost_its_majority, the_new_primary_burns_and_the_fenced_old_one_takes_over,
       the_new_primary_burns_and_one_node_of_the_old_one_is_left, a_primary_sealed_for_a_region_that_burns_is_reclaimed,
       a_standby_that_lost_its_majority_begins_anew, a_primary_region_on_new_disks_follows_and_takes_over_again,
       an_old_primary_whose_majority_lost_its_disks_begins_anew, a_member_of_a_region_that_grew_does_not_begin_anew_by_its_old_file]
