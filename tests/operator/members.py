"""Members that come back wiped, and those that do not belong."""
from leeward.claims import equal, expect
from leeward.cluster import Cluster, ctl, wait_for
from common import ask, code, page


def wiped(c, among):
    """Empties a follower's directory, waits until it says whom to ask, and has it admitted."""
    leader = wait_for("a leader", lambda: next(n for n in among if n.status()["state"] == "leader"))
    victim = next(n for n in among if n is not leader)
    victim.kill()
    victim.wipe()
    victim.start()
    wait_for("it to say that it is not admitted", lambda: page(victim)("member_admitted") == 0 and
             f"leewardctl member admit {victim.id}" in ask(victim.admin, "/readyz")[2], 30)
    equal(code(victim, "/livez"), 200)
    def learner():
        m = {m["id"]: m for m in leader.status()["members"]}[str(victim.id)]
        mine = {m["id"]: m for m in leader.status()["members"]}[str(leader.id)]
        return not m["voter"] and m["applied_index"] == mine["applied_index"] and m["admitted"] is False
    wait_for("it to catch up without a vote", learner, 30)
    # Refused while the leader does not hear it.
    wait_for("it to be admitted", lambda: ctl("--endpoints", f"unix://{leader.dir}/admin.sock", "member", "admit", victim.id))
    c.wait_ready([victim], timeout=30)
    wait_for("its vote", lambda: {m["id"]: m for m in leader.status()["members"]}[str(victim.id)]["voter"], 30)
    wait_for("the metric", lambda: page(victim)("member_admitted") == 1)


def wiped_members_of_both_regions_come_back_by_member_admit():
    with Cluster(active=3, standby=3) as c:
        c.start().wait_ready(timeout=60)
        c.leader().put("a", "1")
        wait_for("a at the standbys", lambda: all(n.value("a", serializable=True) == "1" for n in c.standby))
        wiped(c, c.active)
        wiped(c, c.standby)
        wait_for("the data at all", lambda: all(n.value("a", serializable=True) == "1" for n in c.nodes))


def a_peer_of_another_lineage_is_refused_and_logged():
    # No election but one that the stranger would make.
    with Cluster(active=3, settings={"raft": {"election_timeout": "3s"}}) as one, Cluster(active=3) as other:
        one.start().wait_ready()
        other.start().wait_ready()
        one.leader().put("mine", "1")
        changes = [page(n)("leader_changes_total") for n in one.active]
        stranger = other.active[2]
        stranger.kill()
        # The same name and id, its own data, and the other cluster's members.
        config = stranger.config
        stranger.config = lambda: config().replace(f'peer = "{other.active[0].peer}"', f'peer = "{one.active[0].peer}"') \
            .replace(f'peer = "{other.active[1].peer}"', f'peer = "{one.active[1].peer}"')
        stranger.start()
        for node in one.active[:2]:
            wait_for(f"{node.name} to log it", lambda n=node: "refused a peer" in n.log_text() and "lineage" in n.log_text())
        wait_for("the stranger to be told", lambda: "a peer cannot be used" in stranger.log_text()
                 and "another lineage" in stranger.log_text())
        equal(stranger.process.wait(timeout=60), 3, "exit code")
        expect("belongs to another cluster of the same name" in stranger.log_text(), stranger.log_text()[-600:])
        expect("lost a peer connection" not in stranger.log_text().split('"msg":"starting"')[-1], "it was let in for a while")
        one.leader().put("mine", "2")
        equal([n.value("mine") for n in one.active], ["2"] * 3)
        equal([page(n)("leader_changes_total") for n in one.active], changes, "leader changes")
