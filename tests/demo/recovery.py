"""The second half of the story: a region is lost, another one promoted, the first comes back, and they change places."""
import json
import re
import subprocess

from leeward.claims import metric
from leeward.cluster import Failure, ctl, wait_for

CLAIMS = {
    "promoted": "the standby region is primary, by the plan that was shown",
    "rto": "writes go on within 5 s of the operator's command",
    "loss": "what was lost is what the plan announced",
    "fenced": "the old region comes back fenced",
    "ledger": "every lost write is in the old region's ledger",
    "rejoined": "the old region follows again, without a copy of the state",
    "switched": "the regions changed places, and no write was lost or refused",
}


def leewardctl(nodes, *args, text=False, timeout=60):
    command = ["--endpoints", ",".join(n.client for n in nodes)]
    if not text:
        command += ["-o", "json"]
    out = ctl(*command, *args, timeout=timeout).stdout
    return out if text else json.loads(out)


def tell_dr(demo, nodes, *args):
    """The command as an operator sees it, and what it printed."""
    text = leewardctl(nodes, *args, text=True)
    demo.show(f"`leewardctl {' '.join(args)}`:", text)
    return text


def lose_the_region(demo, cluster):
    """Kills it under load and promotes the other one; returns the figures of the end table."""
    everywhere = cluster.nodes
    writer = demo.Writer(cluster, nodes=everywhere, prefix="region/", record="record-of-the-loss")
    try:
        writer.wait_for_more(20000)
        demo.say("500 writes/s are running, by clients that know both regions; killing all of east with SIGKILL")
        for node in cluster.active:
            node.kill()
        killed_ns = demo.now_ns()
        wait_for("west to hear that east is silent", lambda: leewardctl(cluster.standby, "dr", "plan")["allowed"], 30)
        asked_ns = demo.now_ns()
        plan = leewardctl(cluster.standby, "dr", "plan")
        tell_dr(demo, cluster.standby, "dr", "plan")
        command = plan["next_command"].split()[1:]
        began_ns = demo.now_ns()
        done = leewardctl(cluster.standby, *command, "--reason", "the demo has killed east")
        demo.claim("promoted", done["region"] == "west" and done["epoch"] == "2",
                   f"epoch {done['epoch']}, led by {cluster.by_id(int(done['leader_id'])).name}, {(demo.now_ns() - began_ns) / 1e6:,.0f} ms")
        writer.wait_for_more(20000)
    finally:
        writer.stop()
    rows = writer.rows()
    first, fork = int(done["first_revision"]), int(done["fork_revision"])
    served = [end for end, _, _, told, revision in rows if told and revision >= first]
    rto = (min(served) - began_ns) / 1e6 if served else float("inf")
    demo.claim("rto", rto < 5000, f"the first write at west was acknowledged {rto:,.0f} ms after the command, "
               f"{(min(served, default=0) - killed_ns) / 1e9:.1f} s after the loss (west waits until it is sure of the silence)")
    lost = [end for end, _, _, told, revision in rows if told and fork < revision < first]
    # Known: up to the newest commit that west had heard of. All else was committed after that was asked.
    heard_ns = asked_ns - float(plan.get("unknown_since_ms_ago", 0)) * 1e6
    known = int(plan["known_loss_writes"])
    early = sum(end < heard_ns - 100e6 for end in lost)
    demo.claim("loss", early <= known, f"{len(lost):,} acknowledged writes; announced: {known:,} known, and what came in the last "
               f"{(killed_ns - heard_ns) / 1e6:,.0f} ms before the kill")
    missing, figure = demo.acknowledged([row for row in rows if not fork < row[4] < first],
                                        demo.everything(cluster.standby[0].client, prefix="region/"))
    if not missing:
        raise Failure(f"writes that were not announced as lost are missing: {figure}")
    return {"loss announced": f"{known:,} writes known, more possible", "loss measured": f"{len(lost):,} writes",
            "RTO": f"{rto:,.0f} ms"}, len(lost)


def bring_it_back(demo, cluster, lost):
    for node in cluster.active:
        node.start()
    demo.judge("fenced", lambda: fenced(cluster))
    tell_dr(demo, cluster.active, "dr", "status")
    before = {n.name: metric(n, "standby_stream_bytes_total") for n in cluster.active}
    # Each is fenced by proof, the group a moment later by its log.
    done = wait_for("the old region to go back", lambda: leewardctl(cluster.active, "dr", "rejoin", timeout=90))
    aside = sum(int(l["writes"]) for l in done["ledgers"])
    demo.claim("ledger", aside >= lost, f"{aside:,} writes put aside, {lost:,} of them were acknowledged")
    figures = {"writes in the ledger": f"{aside:,}"}
    def follows():
        wait_for("east to follow", lambda: {m["role"] for n in cluster.active for m in n.status()["members"] if int(m["id"]) == n.id} == {"standby"}, 30)
        wait_for("six equal states", lambda: demo.hashes(cluster), 30)
        sent = sum(metric(n, "standby_stream_bytes_total") - before[n.name] for n in cluster.active)
        whole = metric(cluster.standby[0], "db_size_bytes")
        copies = sum(metric(n, 'standby_resyncs_total{kind="snapshot"}') for n in cluster.active)
        figures["failback bytes"] = f"{sent:,.0f}, of a state of {whole:,.0f}"
        return copies == 0, f"{sent:,.0f} bytes were sent, a copy has {whole:,.0f}"
    demo.judge("rejoined", follows)
    return figures


def fenced(cluster):
    wait_for("east to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in cluster.active), 30)
    return True, ", ".join(n.name for n in cluster.active)


def change_places(demo, cluster):
    armed = lambda: all(s["promotion_eligible"] for s in leewardctl(cluster.standby, "standby", "status")["standbys"])
    wait_for("east to be armed and eligible", armed, 30)
    writer = demo.Writer(cluster, nodes=cluster.nodes, prefix="places/", record="record-of-the-switchover")
    try:
        writer.wait_for_more(20000)
        text = tell_dr(demo, cluster.standby, "dr", "switchover", "--to", "east", "--reason", "back home")
        writer.wait_for_more(20000)
    finally:
        writer.stop()
    rows = writer.rows()
    refused = sum(not told for *_, told, _ in rows)
    kept, figure = demo.acknowledged(rows, demo.everything(cluster.active[0].client, prefix="places/"))
    paused = re.search(r"writes paused +(.+)", text).group(1)
    demo.claim("switched", kept and not refused, f"{len(rows):,} writes, {refused} of them not acknowledged; {figure}; paused for {paused}")
    return {"switchover pause": paused}


def story(demo, cluster):
    table, lost = lose_the_region(demo, cluster)
    table |= bring_it_back(demo, cluster, lost)
    try:
        table |= change_places(demo, cluster)
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        demo.claim("switched", False, str(failure))
    width = max(map(len, table))
    demo.show("what it cost:", "\n".join(f"{name:<{width}}  {figure}" for name, figure in table.items()))
