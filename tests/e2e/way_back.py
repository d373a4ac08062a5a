"""The way back of a region that was primary: real nodes, leewardctl, and nothing else."""
import base64
import json
import os
import shutil
import signal
import subprocess

from leeward.claims import equal, expect
from leeward.cluster import Cluster, bench, ctl, etcdctl, wait_for

from losses import SILENCE, begun, by_the_book, dr


def promoted_without(c, nodes, lose=None):
    """West becomes primary while east is down, with writes in east that west never had."""
    for n in c.standby:
        n.kill()
    if lose:
        lose(c.leader(c.active).client)
    else:
        for i in range(25):
            c.leader(c.active).put(f"lost{i}", str(i))
    for n in c.active:
        n.kill()
    for n in c.standby:
        n.start()
    # Of all of them: who comes later makes it another plan.
    plan = wait_for("a plan that is allowed", lambda: (lambda p: p if p["allowed"] and not p["silent"] else None)(dr(c.standby, "plan")), 30)
    return dr(c.standby, "promote", "--digest", plan["digest"], "--accept-data-loss", "--reason", "east is dark")


def an_old_primary_puts_aside_what_it_alone_holds_and_follows():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        promoted = promoted_without(c, c.standby)
        c.by_id(promoted["leader_id"]).put("new", "epoch")
        for n in c.active:
            n.start()
        wait_for("east to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in c.active), 30)
        told = lambda: (lambda t: (t["state"], t["next_command"]))(dr(c.active, "status"))
        wait_for("an operator to be told what to do", lambda: told() == ("fenced", "leewardctl dr rejoin"))
        wait_for("what east alone holds", lambda: etcdctl(c.active[0].client, "get", "lost7", "--consistency=s", "--print-value-only").stdout == "7\n")

        done = wait_for("east to follow", lambda: dr(c.active, "rejoin"))  # each is fenced by proof, the group a moment later by its log
        expect(done["changed"] and done["epoch"] == "2" and done["state"] == "following", str(done))
        equal(len(done["ledgers"]), 1, str(done))
        expect(int(done["ledgers"][0]["writes"]) == 25 and int(done["ledgers"][0]["bytes"]) > 0, str(done))
        print(f"       put aside: {done['ledgers'][0]['writes']} writes in {done['ledgers'][0]['entries']} entries")
        again = dr(c.active, "rejoin")
        expect(not again["changed"] and len(again["ledgers"]) == 1, str(again))

        c.standby[1].put("after", "the return")
        for n in c.active:
            wait_for(f"{n.name} to have what the new primary has",
                     lambda n=n: etcdctl(n.client, "get", "after", "--consistency=s", "--print-value-only").stdout == "the return\n")
            equal(etcdctl(n.client, "get", "--prefix", "lost", "--consistency=s", "--keys-only").stdout, "")
            equal(etcdctl(n.client, "get", "new", "--print-value-only").stdout, "epoch\n")
        etcdctl(c.active[2].client, "put", "through", "the standby")
        wait_for("six equal states", lambda: len({(m["state_hash_index"], m["state_hash"]) for n in c.nodes
                                                  for m in n.status()["members"] if int(m["id"]) == n.id}) == 1)
        # Eligible again, and what was put aside is there after a restart.
        wait_for("east to be armed", lambda: dr(c.standby, "status")["armed_region"] == "east", 30)
        for n in c.active:
            n.kill()
            n.start()
        wait_for("east to follow again", lambda: all(n.ok("/readyz") for n in c.active), 30)
        equal(len(dr(c.active, "rejoin")["ledgers"]), 1, "ledgers after a restart")


def lost_writes(east):
    etcdctl(east, "put", "lost", "1")
    etcdctl(east, "put", "lost", "2")
    etcdctl(east, "del", "k3")
    etcdctl(east, "txn", stdin='value("k4") = "4"\n\nput then 4\n\nput else 4\n\n')    # as at the fork
    etcdctl(east, "txn", stdin='value("k6") = "no"\n\nput then 6\n\nput else 6\n\n')
    etcdctl(east, "txn", stdin='value("k8") = "8"\n\nput then8 8\n\nput else8 8\n\n')  # west changes k8
    etcdctl(east, "put", "k5", "old")                                                  # and k5
    lease = etcdctl(east, "lease", "grant", "600").stdout.split()[1]
    etcdctl(east, "put", "leased", "x", f"--lease={lease}")


def got(node, key):
    return etcdctl(node.client, "get", key, "--print-value-only").stdout.strip()


def what_was_put_aside_is_shown_exported_and_replayed_once():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        promoted_without(c, c.standby, lost_writes)
        west = c.standby[0]
        etcdctl(west.client, "put", "k5", "new")
        etcdctl(west.client, "put", "k8", "changed")
        for n in c.active:
            n.start()
        wait_for("east to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in c.active), 30)
        endpoints = ",".join(n.client for n in c.active)  # each is fenced by proof, the group a moment later by its log
        wait_for("east to follow", lambda: ctl("--endpoints", endpoints, "dr", "rejoin", check=False, timeout=90).returncode == 0, 60)

        shown = wait_for("the ledger to be judged", lambda: (lambda all_of: all_of if all("clean" in of for of in all_of) else None)(
            dr(c.active, "ledger", "show")["ledgers"]))
        equal(len(shown), 1, str(shown))
        of = shown[0]
        equal((of["writes"], of["complete"], of["region"]), ("9", True, "east"), str(of))
        equal((of["clean"], of["conflicting"], of["lease_bound"]), ("5", "2", "2"), str(of))
        lines = [json.loads(line) for line in
                 ctl("--endpoints", c.active[0].client, "dr", "ledger", "export", "-").stdout.splitlines()]
        equal([line["op"] for line in lines if "_" not in line["op"] or line["op"] in ("delete_range", "lease_grant")],
              ["put", "put", "delete_range", "txn", "txn", "txn", "put", "lease_grant", "put"], "what was exported")

        dry = dr(c.active, "ledger", "replay", "--dry-run")["ledgers"][0]
        equal((dry["clean"], dry["applied"], got(west, "lost")), ("5", "0", ""), str(dry))
        done = dr(c.active, "ledger", "replay")["ledgers"][0]
        equal((done["applied"], done["conflicting"], done["lease_bound"]), ("5", "2", "2"), str(done))
        equal([got(west, k) for k in ("lost", "k3", "then", "else", "then8", "else8", "k5", "leased")],
              ["2", "", "4", "6", "", "", "new", ""], "what west has now")
        revision = json.loads(etcdctl(west.client, "get", "lost", "-w", "json").stdout)["header"]["revision"]
        again = dr(c.active, "ledger", "replay")["ledgers"][0]
        equal((again["applied"], again["replayed"]), ("0", "5"), str(again))
        equal(json.loads(etcdctl(west.client, "get", "lost", "-w", "json").stdout)["header"]["revision"], revision, "the second replay writes nothing")

        gone = ("--endpoints", endpoints, "dr", "ledger", "discard", "--region", "east", "--ledger", of["ledger"])
        refused = ctl(*gone, check=False)
        expect(refused.returncode == 3 and "--accept-data-loss" in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr)
        equal(ctl(*gone, "--accept-data-loss").stdout, f"ledger {of['ledger']} of region east is discarded\n")
        equal(dr(c.active, "ledger", "show")["ledgers"], [], "what is kept")
        for n in c.active:
            wait_for(f"{n.name}'s file to be gone", lambda n=n: os.listdir(os.path.join(n.dir, "data", "ledgers")) == [])


def an_old_primary_with_checkpoints_is_fenced_whenever_the_first_frame_comes():
    with Cluster(active=3, standby=3, settings={**SILENCE, "storage": {"checkpoint_interval": 100}}) as c:
        begun(c, count=300)
        node = c.active[0]
        wait_for("a checkpoint", lambda: os.listdir(os.path.join(node.dir, "data", "snapshots")))
        promoted_without(c, c.standby)
        wait_for("west to serve", lambda: all(n.ok("/primary") for n in c.standby))
        kept = os.path.join(c.dir, "kept")
        shutil.copytree(os.path.join(node.dir, "data"), kept)
        for start in range(6):  # what it is told is noted: each start is the first that hears of it
            node.wipe()
            shutil.copytree(kept, os.path.join(node.dir, "data"))
            node.start()

            def fenced(start=start):
                if not node.alive:
                    raise SystemError(f"start {start}: it ended with {node.process.returncode}")
                return node.status()["role"] == "fenced"
            wait_for("it to be fenced", fenced, 30)
            node.kill()


def following(c, nodes):
    wait_for("the region to follow", lambda: ctl("--endpoints", ",".join(n.client for n in nodes), "dr", "rejoin", check=False,
                                                 timeout=90).returncode == 0, 60)


def a_member_that_came_back_by_a_snapshot_goes_back_when_its_region_is_lost_again():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        promoted_without(c, c.standby)
        late, others = c.active[2], c.active[:2]
        for n in others:
            n.start()
        wait_for("two of east to be fenced", lambda: all(n.status()["role"] == "fenced" for n in others), 30)
        following(c, others)
        late.start()  # its log ends before that
        wait_for("a snapshot to be installed", lambda: "a snapshot was installed" in late.log_text(), 30)
        wait_for("east to be ready", lambda: all(n.ok("/readyz") for n in c.active), 30)
        def switched():  # a command may fail whose switchover is done
            done = ctl("--endpoints", c.endpoints, "dr", "switchover", "--to", "east", check=False, timeout=90)
            return done.returncode == 0 or "already_primary" in done.stderr
        wait_for("east to be primary again", switched, 60)
        wait_for("west to be armed", lambda: dr(c.active, "status")["armed_region"] == "west", 30)
        equal(promoted_without(c, c.standby)["epoch"], "4")
        for n in c.active:
            n.start()
        wait_for("east to be fenced", lambda: all(n.status()["role"] == "fenced" for n in c.active), 30)
        following(c, c.active)
        wait_for("all of east to be ready", lambda: all(n.ok("/readyz") for n in c.active), 30)
        equal(len(dr(c.active, "ledger", "show")["ledgers"]), 2, "ledgers")


def checkpoints(node):
    return sorted(int(name.removeprefix("checkpoint-")) for name in os.listdir(os.path.join(node.dir, "data", "snapshots"))
                  if name.removeprefix("checkpoint-").isdigit())


def what_an_old_primary_goes_back_by_outlives_a_start_that_nobody_answers():
    # No election but those made here: one that ends writes leaves too few for a checkpoint.
    settings = {**SILENCE, "storage": {"segment_size": "1MiB", "checkpoint_interval": 500, "checkpoint_retention": 1},
                "raft": {"max_batch_bytes": "256KiB", "election_timeout": "3s"}}
    with Cluster(active=3, standby=3, settings=settings) as c:
        begun(c)

        def put(total):
            bench("put", "--endpoints", c.endpoints, "--inflight", 20, "--total", total, "--keys", 500, "--value-size", 1024)
        put(4000)
        segments = lambda n: sorted(name for name in os.listdir(os.path.join(n.dir, "data", "wal")) if name.startswith("log-"))
        wait_for("the log's beginning to be released", lambda: all(int(segments(n)[0][4:-4]) > 1 for n in c.active))

        def behind(_):
            held = min(int(n.status()["position_index"]) for n in c.active)
            for _ in range(2):
                newest = [checkpoints(n)[-1] for n in c.active]
                put(600)
                wait_for("newer checkpoints", lambda newest=newest: all(checkpoints(n)[-1] > was for n, was in zip(c.active, newest)))
            wait_for("one of before to be kept", lambda: all(len(checkpoints(n)) == 2 and checkpoints(n)[0] < held + 50 for n in c.active))
        promoted_without(c, c.standby, behind)
        for n in c.standby:
            n.process.send_signal(signal.SIGSTOP)
        for n in c.active:
            n.start()
        try:
            wait_for("east to take part in its group", lambda: all(n.status()["state"] in ("follower", "leader") for n in c.active), 30)
        finally:
            for n in c.standby:
                n.process.send_signal(signal.SIGCONT)
        wait_for("east to be fenced", lambda: all(n.status()["role"] == "fenced" for n in c.active), 30)
        following(c, c.active)
        wait_for("all of east to be ready", lambda: all(n.ok("/readyz") for n in c.active), 30)


def restored(c, kept):
    """East's disks are those of an earlier day, and its clients go on without what came after."""
    for n in c.active:
        n.kill()
    wait_for("west to miss its primary", lambda: not any(dr([n], "status").get("primary_heard") for n in c.standby), 15)
    for n in c.active:
        n.wipe()
        shutil.copytree(os.path.join(kept, n.name), n.dir, dirs_exist_ok=True)
        n.start()
    c.wait_ready(c.active)


def diverged(c, value="", others=20):
    """West has 301 writes that its primary, restored, knows nothing of; the member of west that leads."""
    begun(c, count=50)
    kept = os.path.join(c.dir, "kept")
    for n in c.active:
        n.kill(signal.SIGTERM)
        shutil.copytree(n.dir, os.path.join(kept, n.name))
    for n in c.active:
        n.start()
    wait_for("the standbys to be eligible", lambda: all(n.ok("/standby/eligible") for n in c.standby), 30)
    for i in range(300):
        c.leader(c.active).put("gone", value + str(i))
    etcdctl(c.active[0].client, "put", "k1", "gone too")
    held = c.active[0].value("gone", serializable=False)
    wait_for("west to have it", lambda: c.standby[1].value("gone", serializable=True) == held)
    watch = subprocess.Popen(["etcdctl", f"--endpoints={c.standby[1].client}", "watch", "k", "--prefix", "--rev=1"], text=True,
                             env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    restored(c, kept)
    for i in range(others):
        c.leader(c.active).put("other", str(i))
    leader = wait_for("west to see it", lambda: next(
        (n for n in c.standby if dr([n], "status")["next_command"] == "leewardctl dr rejoin --discard"), None), 30)
    wait_for("none of them to be eligible", lambda: not any(n.ok("/standby/eligible") for n in c.standby), 3)
    refused = ctl("--endpoints", leader.client, "dr", "rejoin", check=False)
    expect(refused.returncode == 3 and "dr rejoin --discard" in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr)
    equal(refusal(leader, "--discard"), "accept_data_loss")
    equal(refusal(c.leader(c.active), *DISCARD), "primary")
    equal(c.standby[1].value("gone", serializable=True), held, "what west holds until somebody says otherwise")
    return leader, watch


DISCARD = ("--discard", "--accept-data-loss")


def refusal(node, *flags):
    """The rule by which a rejoin is refused there."""
    ran = ctl("--endpoints", node.client, "dr", "rejoin", *flags, check=False, timeout=70)
    return ran.stderr.removeprefix("leewardctl: ").split(":")[0] if ran.returncode == 3 else f"{ran.returncode}: {ran.stdout}{ran.stderr}"


def a_standby_of_a_primary_restored_from_a_backup_puts_aside_what_that_lacks():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        leader, watch = diverged(c)  # above what was lost, below what west holds
        read = etcdctl(c.standby[1].client, "get", "k1", check=False)
        expect(read.returncode != 0 and "holds another history than the primary" in read.stderr, f"a linearizable read: {read.stdout}{read.stderr}")
        done = dr(c.standby, "rejoin", *DISCARD)
        expect(done["changed"] and done["epoch"] == "1", str(done))
        equal((len(done["ledgers"]), done["ledgers"][0]["writes"]), (1, "301"), str(done))
        print(f"       put aside: {done['ledgers'][0]['writes']} writes, back to history index {done['position_index']}")
        wait_for("the standbys to be eligible again", lambda: all(n.ok("/standby/eligible") for n in c.standby), 60)
        for n in c.standby:
            equal((n.value("gone", serializable=True), n.value("other", serializable=True), n.value("k1", serializable=True)), (None, "19", "1"), n.name)
        expect("compacted" in watch.communicate(timeout=10)[0], "who watched was told of what is no history any more")
        equal(c.standby[1].value("k1"), "1", "a linearizable read")
        equal(refusal(leader, *DISCARD), "not_diverged", "said again")
        shown = dr(c.standby, "ledger", "show")["ledgers"]
        equal((len(shown), shown[0]["writes"], shown[0]["complete"]), (1, "301", True), str(shown))
        expect(shown[0]["not_judged"].startswith("same_epoch: "), str(shown))
        out = os.path.join(c.dir, "ledger.jsonl")
        ctl("--endpoints", leader.client, "dr", "ledger", "export", out)
        with open(out, encoding="utf-8") as lines:
            values = [base64.b64decode(json.loads(line)["request"]["value"]).decode() for line in lines]
        equal(values, [str(i) for i in range(300)] + ["gone too"], "what was exported")
        replayed = ctl("--endpoints", leader.client, "dr", "ledger", "replay", check=False)
        expect(replayed.returncode == 3 and "same_epoch: " in replayed.stderr and replayed.stderr.count("\n") == 1, replayed.stderr)
        wait_for("six equal states", lambda: len({(m["state_hash_index"], m["state_hash"]) for n in c.nodes
                                                  for m in n.status()["members"] if int(m["id"]) == n.id}) == 1)
        # It is a standby like any other: it takes over.
        for n in c.active:
            n.kill()
        plan = wait_for("a plan that is allowed", lambda: (lambda p: p if p["allowed"] and not p["silent"] else None)(dr(c.standby, "plan")), 30)
        equal(dr(c.standby, "promote", "--digest", plan["digest"], "--accept-data-loss", "--reason", "east is dark")["epoch"], "2")


def where_the_standby_was_right_it_is_promoted_and_the_restored_primary_puts_its_own_aside():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        _, watch = diverged(c)
        watch.kill()
        for n in c.active:
            n.kill()
        _, promoted = by_the_book(c.standby, rules="corruption")
        for n in c.active:
            n.start()
        wait_for("east to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in c.active), 30)
        leader = wait_for("east to see that they part below the fork", lambda: next((n for n in c.active if refusal(n) == "diverged"), None), 30)
        done = dr([leader], "rejoin", *DISCARD)
        equal((done["epoch"], len(done["ledgers"]), done["ledgers"][0]["writes"]), (promoted["epoch"], 1, "20"), str(done))
        wait_for("six equal states", lambda: len({(m["state_hash_index"], m["state_hash"]) for n in c.nodes
                                                  for m in n.status()["members"] if int(m["id"]) == n.id}) == 1, 30)
        for n in c.active:
            equal((n.value("gone", serializable=True), n.value("other", serializable=True), n.value("k1", serializable=True)), ("299", None, "gone too"), n.name)


def a_standby_whose_log_does_not_reach_to_where_it_diverged_says_so():
    little = {"storage": {"segment_size": "2MiB", "checkpoint_interval": 100}, "dr": {**SILENCE["dr"], "retain_log": "2MiB"}}
    with Cluster(active=3, standby=3, settings={**SILENCE, **little}) as c:
        leader, watch = diverged(c, "x" * 40_000, 400)  # its end is passed: below it holds nothing that could be compared
        watch.kill()
        refused = ctl("--endpoints", leader.client, "dr", "rejoin", *DISCARD, check=False, timeout=70)
        expect(refused.returncode == 3 and "no_common_position: " in refused.stderr and "begins anew" in refused.stderr
               and refused.stderr.count("\n") == 1, f"{refused.returncode}: {refused.stderr}")
        equal(c.standby[1].value("k49", serializable=True), "49", "what it holds")


TESTS = [what_was_put_aside_is_shown_exported_and_replayed_once, an_old_primary_puts_aside_what_it_alone_holds_and_follows,
         an_old_primary_with_checkpoints_is_fenced_whenever_the_first_frame_comes,
         what_an_old_primary_goes_back_by_outlives_a_start_that_nobody_answers,
         a_member_that_came_back_by_a_snapshot_goes_back_when_its_region_is_lost_again,
         a_standby_of_a_primary_restored_from_a_backup_puts_aside_what_that_lacks,
         where_the_standby_was_right_it_is_promoted_and_the_restored_primary_puts_its_own_aside,
         a_standby_whose_log_does_not_reach_to_where_it_diverged_says_so]
