"""An upgrade of all members, one at a time, to a version that knows a newer format: taken back, gone through, and made to stay."""
import json
import os

from leeward import versions
from leeward.claims import equal, expect
from leeward.cluster import Cluster, ctl, wait_for

LATER = "0.2.0"


def status(c):
    return json.loads(ctl("--endpoints", ",".join(n.client for n in c.nodes), "-o", "json", "cluster", "status").stdout)


def finalize(c, code=0):
    done = ctl("--endpoints", ",".join(n.client for n in c.nodes), "cluster", "finalize", check=False, timeout=60)
    equal(done.returncode, code, f"cluster finalize: {done.stdout}{done.stderr}; exit code")
    return done.stdout + done.stderr


def exchange(c, node, programs):
    node.kill(15)
    node.programs = programs
    node.start()
    c.wait_ready([node])


def an_upgrade_goes_back_until_it_is_finalized():
    with Cluster(active=3, standby=3) as c:
        later = versions.another(os.path.join(c.dir, "later"), LATER, formats_later=1)
        own = c.nodes[0].programs
        c.start().wait_ready()
        c.leader(c.active).put("before", "it")
        before = status(c)["format"]
        for node in c.standby + c.active:
            exchange(c, node, later)
            if node is c.standby[1]:
                said = wait_for("the others to be too old", lambda: (lambda t: t if "version: " in t else None)(finalize(c, 3)))
                expect(f"({versions.own()}) do not know format {before + 1}" in said, said)
        equal(status(c)["format"], before, "what is written, before anybody said that it stays")
        for node in c.active + c.standby:
            exchange(c, node, own)
        c.leader(c.active).put("back", "again")

        for node in c.standby + c.active:
            exchange(c, node, later)
        wait_for("all to say what they know", lambda: {m["newest_format"] for m in status(c)["members"]} == {before + 1})
        table = ctl("--endpoints", c.active[0].client, "cluster", "status").stdout
        expect("leewardctl cluster finalize" in table, table)
        silent = c.standby[0]
        silent.kill()
        for node in c.nodes:
            if node is not silent:
                wait_for(f"{node.name} to miss it", lambda node=node: not next(m for m in node.status()["members"] if m["id"] == str(silent.id))["healthy"])
        said = finalize(c, 3)
        expect(f"nodes {c.standby[0].id} know" in said, said)
        c.standby[0].start()
        c.wait_ready([c.standby[0]])
        said = wait_for("it to be heard", lambda: finalize(c))
        expect(f"writes format {before + 1} from now on" in said, said)
        wait_for("each region to write it", lambda: all(json.loads(ctl("--endpoints", n.client, "-o", "json", "cluster", "status").stdout)["format"] == before + 1
                                                        for n in c.nodes))
        c.leader(c.active).put("after", "it")

        for node in (c.standby[2], c.active[2]):
            node.kill(15)
            node.programs = own
            node.start()
            equal(node.process.wait(timeout=30), 3, f"{node.name}: how the older version ends")
            expect("run the newer leewardd" in node.log_text(), node.log_text()[-500:])
            node.programs = later
            node.start()
            c.wait_ready([node])
        equal([c.active[2].value(k) for k in ("before", "back", "after")], ["it", "again", "it"], "what was written")


TESTS = [an_upgrade_goes_back_until_it_is_finalized]
