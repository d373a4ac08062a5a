"""The way back of a region that was primary: real nodes, leewardctl, and nothing else."""
import json

from leeward.claims import equal, expect
from leeward.cluster import Cluster, ctl, etcdctl, wait_for

from losses import SILENCE, begun, dr


def promoted_without(c, nodes):
    """West becomes primary while east is down, with writes in east that west never had."""
    for n in c.standby:
        n.kill()
    for i in range(25):
        c.leader(c.active).put(f"lost{i}", str(i))
    for n in c.active:
        n.kill()
    for n in c.standby:
        n.start()
    wait_for("a plan that is allowed", lambda: any(dr_ok(n) for n in c.standby), 30)
    plan = dr(c.standby, "plan")
    return dr(c.standby, "promote", "--digest", plan["digest"], "--accept-data-loss", "--reason", "east is dark")


def dr_ok(node):
    done = ctl("--endpoints", node.client, "-o", "json", "dr", "plan", check=False)
    return done.returncode == 0 and json.loads(done.stdout)["allowed"]


def an_old_primary_puts_aside_what_it_alone_holds_and_follows():
    with Cluster(active=3, standby=3, settings=SILENCE) as c:
        begun(c)
        promoted = promoted_without(c, c.standby)
        c.by_id(promoted["leader_id"]).put("new", "epoch")
        for n in c.active:
            n.start()
        wait_for("east to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in c.active), 30)
        told = dr(c.active, "status")
        equal((told["state"], told["next_command"]), ("fenced", "leewardctl dr rejoin"), "what an operator is told to do")
        equal(etcdctl(c.active[0].client, "get", "lost7", "--consistency=s", "--print-value-only").stdout, "7\n")

        done = dr(c.active, "rejoin")
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


TESTS = [an_old_primary_puts_aside_what_it_alone_holds_and_follows]
