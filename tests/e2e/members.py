"""Members that come, go and take another's place: real nodes, leewardctl and etcdctl."""
import json

from leeward.claims import equal, expect, metric
from leeward.cluster import Cluster, Node, Failure, ctl, etcdctl, wait_for


def newcomer(c, node_id, standby=False):
    """A node of no list but its own: it joins the group that has added it."""
    part, region = ("2", "west") if standby else ("1", "east")
    node = Node(c, node_id, f"{region}-{node_id}", region, f"{region}-a", f"127.{c.net}.{part}.{node_id}", standby)
    node.extra["bootstrap"] = "join"
    listed = node.config
    entry = (f'members = [{{ id = {node.id}, name = "{node.name}", peer = "{node.peer}", client = "{node.client}", '
             f'region = "{region}", zone = "{node.zone}" }}, ')
    # The own list is the last one of a standby's file, the first of the others'.
    node.config = lambda: entry.join(listed().rsplit("members = [", 1)) if standby else entry.join(listed().split("members = [", 1))
    return node


def at(node, *args, code=0):
    done = ctl("--endpoints", node.client, *args, check=False, timeout=60, again=True)
    equal(done.returncode, code, f"leewardctl {' '.join(map(str, args))}: {done.stdout}{done.stderr}; exit code")
    return done.stdout + done.stderr


def add(through, node):
    at(through, "member", "add", node.id, "--name", node.name, "--region", node.region, "--zone", node.zone,
       "--peer-url", node.peer, "--client-url", f"http://{node.client}")


def ids(node):
    return {int(m["id"]): m["is_learner"] for m in json.loads(at(node, "-o", "json", "member", "list"))["members"]}


def says_it_was_removed(node):
    wait_for(f"{node.name} to say that it was removed", lambda: node.status()["state"] == "removed")

    def everywhere():  # what the ports show is that of a moment ago
        status, text = node.get("/readyz")
        equal(status, 503, text)
        expect("was removed from its group" in text, text)
        equal(node.get("/livez")[0], 200)
        equal(metric(node, "member_removed"), 1)
        expect("was removed from its group" in node.log_text(), "its log")
        expect("removed" in at(node, "cluster", "status"), "cluster status")
        return True
    wait_for(f"{node.name} to say so everywhere", everywhere)

    def refuses():
        try:
            return not node.value("a", serializable=True)
        except Failure as refused:
            return "removed from its group" in str(refused)
    wait_for(f"{node.name} to serve nobody", refuses)


def a_primary_group_takes_members_in_and_lets_them_go():
    with Cluster(active=3) as c:
        late = [newcomer(c, 4), newcomer(c, 5)]
        try:
            c.start().wait_ready()
            one, four, five = c.active[0], *late
            c.leader().put("a", "1")
            wait_for("all to be admitted", lambda: all(n.ok("/readyz") for n in c.active))

            # A learner: it follows, and votes when it is promoted.
            add(one, four)
            wait_for("it to be listed as a learner", lambda: ids(one).get(4))
            expect("in_sync" in (told := at(one, "member", "promote", 4, code=3)), f"the rule is named: {told}")
            expect("member already" in (told := at(one, "member", "add", 4, "--peer-url", "h:1", code=1)), f"twice: {told}")
            four.start()
            expect("is in sync" in at(one, "member", "wait-sync", 4, "--timeout", "100s"), "wait-sync")
            wait_for("it to vote", lambda: "votes now" in at(one, "member", "promote", 4))  # refused while it is not heard
            c.wait_ready([four])
            wait_for("it to serve", lambda: four.value("a") == "1")

            # The leader goes: another takes over, and what was removed says so, now and when it is started again.
            def led():  # an election may have chosen the new one
                if four.ok("/leader"):
                    at(one, "member", "move-leader", one.id)
                return next((n for n in c.active if n.ok("/leader")), None)
            gone = wait_for("one of the first to lead", led)
            stays = [n for n in c.active if n is not gone]
            wait_for("it to be removed", lambda: at(stays[0], "member", "remove", gone.id))  # refused while others are not heard
            says_it_was_removed(gone)
            gone.kill()
            gone.start()
            wait_for("its gateway", lambda: gone.get("/livez")[0] == 200)
            says_it_was_removed(gone)
            stays[0].put("a", "2")
            wait_for("the list", lambda: sorted(ids(stays[0])) == sorted([4] + [n.id for n in stays]))

            # A dead one is replaced in one step; while it is dead no healthy one may go.
            dead, living = stays[1], stays[0]
            dead.kill()
            add(living, five)
            five.start()
            at(living, "member", "wait-sync", 5)
            refused = at(living, "member", "remove", 4, code=3)
            expect("quorum" in refused and "--force" in refused, refused)
            wait_for("the dead one to be replaced", lambda: at(living, "member", "replace", dead.id, 5))
            wait_for("the list", lambda: ids(living) == {living.id: False, 4: False, 5: False})
            c.wait_ready([five])
            living.put("a", "3")
            wait_for("it at all", lambda: [n.value("a") for n in (living, four, five)] == ["3"] * 3)
            dead.start()  # it was down when it was removed: the others tell it
            says_it_was_removed(dead)
            equal(living.value("a"), "3")
        finally:
            for node in late:
                node.kill()


def etcdctl_promotes_removes_and_lists_and_is_told_how_to_add():
    with Cluster(active=3) as c:
        four = newcomer(c, 4)
        try:
            c.start().wait_ready()
            one = c.active[0]
            e = c.endpoints
            told = etcdctl(e, "member", "add", "x", f"--peer-urls=http://{four.peer}", check=False, again=True)
            expect(told.returncode != 0 and "leewardctl member add" in told.stderr, told.stderr)
            add(one, four)
            early = etcdctl(e, "member", "promote", "4", check=False, again=True)
            expect("etcdserver: can only promote a learner member which is in sync with leader" in early.stderr, early.stderr)
            four.start()
            at(one, "member", "wait-sync", 4)
            wait_for("it to be promoted", lambda: "4 promoted" in etcdctl(e, "member", "promote", "4").stdout)  # refused while it is not heard
            again = etcdctl(e, "member", "promote", "4", check=False, again=True)
            expect("etcdserver: can only promote a learner member" in again.stderr, again.stderr)
            lists = lambda what: wait_for(f"{what} in the list", lambda: what in etcdctl(e, "member", "list").stdout)
            lists(f"4, started, {four.name}, http://{four.peer}, http://{four.client}, false")
            unknown = etcdctl(e, "member", "remove", "99", check=False, again=True)
            expect("etcdserver: member not found" in unknown.stderr, unknown.stderr)
            etcdctl(e, "member", "update", "4", f"--peer-urls=http://localhost:{four.peer.split(':')[1]}")
            lists("4, started, east-4, http://localhost:2380")
            wait_for("it to be removed", lambda: "removed" in etcdctl(e, "member", "remove", "4").stdout)  # refused while others are not heard
            wait_for("the list to be shorter", lambda: len(etcdctl(e, "member", "list").stdout.splitlines()) == 3)
        finally:
            four.kill()


def a_standby_group_changes_its_members_and_both_regions_know():
    with Cluster(active=1, standby=1) as c:
        second = newcomer(c, 12, standby=True)
        try:
            c.start().wait_ready(timeout=60)
            primary, first = c.active[0], c.standby[0]
            primary.put("a", "1")
            add(first, second)
            second.start()
            at(first, "member", "wait-sync", 12)
            wait_for("it to vote", lambda: at(first, "member", "promote", 12))  # refused while it is not heard
            wait_for("the primary to know it", lambda: "12" in {m["id"] for m in primary.status()["members"]})
            wait_for("it to serve the data", lambda: second.value("a", serializable=True) == "1")
            wait_for("it to be removed", lambda: at(second, "member", "remove", first.id))
            says_it_was_removed(first)
            c.wait_ready([second], timeout=30)
            primary.put("a", "2")
            wait_for("the stream to go on", lambda: second.value("a", serializable=True) == "2")
            wait_for("the primary to forget the other", lambda: "11" not in {m["id"] for m in primary.status()["members"]})
            wait_for("it to be eligible", lambda: second.ok("/standby/eligible"), 30)
        finally:
            second.kill()
