"""The metrics page: its contract, and figures against what leewardctl says."""
import math
import os
import re
import subprocess
import time

from leeward.claims import equal, expect
from leeward.cluster import ROOT, bench, wait_for
from common import page, shared, soon

# What exists: name -> (type, {label: closed set or None}); of two labels that go together the pairs.
# telemetry/README.md has the same names for people, and those that are promised and absent.
CONTRACT = {
    "build_info": ("gauge", {"version": None, "revision": None}), "node_info": ("gauge", {"node": None, "zone": None, "role": None}),
    "lineage_created_timestamp_seconds": ("gauge", {}), "epoch": ("gauge", {}), "term_in_epoch": ("gauge", {}), "is_leader": ("gauge", {}), "has_leader": ("gauge", {}),
    "is_primary": ("gauge", {}), "is_fenced": ("gauge", {}), "member_admitted": ("gauge", {}), "dr_start_wait_active": ("gauge", {}),
    "member_removed": ("gauge", {}), "restart_pending": ("gauge", {}),
    "cluster_members": ("gauge", {"role": {"unknown", "primary", "standby", "observer", "fenced"},
                                  "status": {"down", "starting", "follower", "candidate", "leader", "learner", "snapshot",
                                             "waiting", "isolated", "removed"}}),
    "rpc_requests_total": ("counter", {"method": None, "code": {
        "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
        "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
        "DataLoss", "Unauthenticated", "other"}}),
    "rpc_duration_seconds": ("histogram", {"method": None}), "rpc_in_flight": ("gauge", {}),
    "rpc_server_faults_total": ("counter", {"method": None}), "slow_requests_total": ("counter", {}),
    "connections": ("gauge", {"listener": {"client", "peer", "admin", "metrics"}}),
    "rejected_total": ("counter", {"reason": {"overloaded", "connections", "rate"}}),
    "proposals_total": ("counter", {"result": {"committed", "refused", "unknown", "overloaded"}}),
    "commit_duration_seconds": ("histogram", {}),
    "stage_duration_seconds": ("histogram", {"stage": {"queue", "forward", "fsync", "append", "quorum", "apply", "watch",
                                                       "standby_receive", "standby_fsync", "standby_apply"}}),
    "commit_index": ("gauge", {}), "applied_index": ("gauge", {}), "durable_index": ("gauge", {}),
    "leader_changes_total": ("counter", {}), "elections_total": ("counter", {"result": {"started", "won", "lost"}}),
    "peer_rtt_seconds": ("histogram", {"peer": "peers"}), "peer_lag_entries": ("gauge", {"peer": "peers"}),
    "clock_offset_seconds": ("gauge", {"peer": None}),  # nodes of both regions that were heard
    "wal_fsync_duration_seconds": ("histogram", {}), "wal_bytes_total": ("counter", {}), "wal_size_bytes": ("gauge", {}),
    "db_size_bytes": ("gauge", {}), "db_quota_bytes": ("gauge", {}), "checkpoint_age_writes": ("gauge", {}),
    "disk_free_bytes": ("gauge", {"volume": {"data", "wal", "snapshot"}}),
    "disk_total_bytes": ("gauge", {"volume": {"data", "wal", "snapshot"}}),
    "compaction_duration_seconds": ("histogram", {}),
    "corruption_detected_total": ("counter", {"kind": {"state_hash", "stream", "log"}}),
    "alarm": ("gauge", {"alarm": {"nospace", "quota", "corrupt"}}),
    "revision_in_epoch": ("gauge", {}), "compacted_revision_in_epoch": ("gauge", {}), "keys": ("gauge", {}),
    "watchers": ("gauge", {}), "watch_lag_events": ("gauge", {}), "watch_events_total": ("counter", {}), "leases": ("gauge", {}),
    "lease_expired_total": ("counter", {}),
    "standby_lag_writes": ("gauge", {}), "standby_lag_entries": ("gauge", {}), "standby_lag_bytes": ("gauge", {}),
    "standby_lag_seconds": ("gauge", {"bound": {"low", "high"}}), "standby_promotion_eligible": ("gauge", {}),
    "standby_group_quorum": ("gauge", {}), "standby_connected": ("gauge", {}), "standby_stream_bytes_total": ("counter", {}),
    "standby_ineligible": ("gauge", {"check": {"armed", "quorum", "lag", "hash", "integrity", "disk", "version", "epoch",
                                               "isolated", "voter"}}),
    "standby_resyncs_total": ("counter", {"kind": {"reconnect", "snapshot"}}),
    "hash_comparisons_total": ("counter", {"result": {"equal", "different"}}),
    "source_lag_writes": ("gauge", {"standby": None}), "source_lag_seconds": ("gauge", {"standby": None}),
    "dr_primary_silence_seconds": ("gauge", {}), "dr_max_lag_seconds": ("gauge", {}), "dr_rpo_budget_seconds": ("gauge", {}),
    "dr_rpo_policy_active": ("gauge", {"policy": {"alert", "throttle", "refuse"}}), "dr_rpo_policy_suspended": ("gauge", {}),
    "dr_rpo_exceeded": ("gauge", {}), "dr_rpo_allowed_bytes_per_second": ("gauge", {}),
    "dr_throttle_seconds_total": ("counter", {}), "dr_refused_writes_total": ("counter", {}),
    "dr_armed": ("gauge", {}), "dr_retained_log_bytes": ("gauge", {}), "dr_retain_log_limit_bytes": ("gauge", {}),
    "dr_known_loss_writes": ("gauge", {}), "dr_known_loss_entries": ("gauge", {}), "dr_known_loss_bytes": ("gauge", {}),
    "dr_estimated_rto_seconds": ("gauge", {}), "dr_self_fence": ("gauge", {"mode": {"contact", "lease"}}),
    "dr_fence_lease_remaining_seconds": ("gauge", {}),
    "dr_promotion_in_progress": ("gauge", {"kind,step": {
        ("promotion", "survey"), ("promotion", "cut"), ("promotion", "lease"), ("promotion", "epoch_change"),
        ("survivors", "survey"), ("survivors", "stage"), ("survivors", "begin"), ("survivors", "epoch_change"),
        ("switchover", "seal"), ("switchover", "stream"), ("switchover", "epoch_change")}}),
    "dr_promotions_total": ("counter", {"kind": {"promotion", "survivors", "switchover"},
                                        "result": {"done", "refused", "failed", "unknown"}}),
    "dr_last_promotion_duration_seconds": ("gauge", {}),
    "dr_ledger_entries": ("gauge", {"class": {"kept"}}), "dr_ledger_complete": ("gauge", {}),
    "dr_sealed": ("gauge", {}), "dr_contested": ("gauge", {}), "dr_last_drill_timestamp_seconds": ("gauge", {}),
    "dr_last_drill_rto_seconds": ("gauge", {}),
    "dr_log_dropped_total": ("counter", {}), "rewindable": ("gauge", {}), "dr_topology_differs": ("gauge", {}),
    "previous_exit_timestamp_seconds": ("gauge", {"reason": {"clean", "assertion", "fsync", "signal", "unknown"}}),
    "abnormal_exits_total": ("counter", {"reason": {"assertion", "fsync", "signal", "unknown"}}),
    "assertion_failures_total": ("counter", {}),
    "tls_certificate_expiry_timestamp_seconds": ("gauge", {"use": {"client", "peer", "admin", "metrics"}}),
    "log_dropped_total": ("counter", {}),
    "otlp_spans_total": ("counter", {"result": {"sent", "rejected", "failed", "dropped"}}), "otlp_queue_length": ("gauge", {}),
}
ETCD = ("etcd_", "grpc_server_")  # telemetry/README.md, "Names of etcd's"
PROCESS = ("process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds", "process_max_fds")


def documented(heading):
    """{name: its labels} of the table under that heading of telemetry/README.md."""
    text = open(os.path.join(ROOT, "telemetry", "README.md"), encoding="utf-8").read()
    expect(f"\n{heading}\n" in text, f"telemetry/README.md has no {heading}")
    section = text.split(f"\n{heading}\n")[1].split("\n#")[0]
    names = re.findall(r"`([a-z_]+)(?:\{([a-z_, ]+)\})?`", section)
    equal(len(names), len({name for name, _ in names}), f"names that stand twice under {heading}")
    return {name: set(labels.split(", ")) - {""} for name, labels in names}


def the_page_has_just_the_names_that_are_documented():
    here, absent = documented("### Names"), documented("### Promised and absent")
    exported = {name: set(",".join(labels).split(",")) - {""} for name, (_, labels) in CONTRACT.items()}
    exported.update({name: set() for name in PROCESS})
    equal(set(here), set(exported), "names in telemetry/README.md and in this test")
    for name, labels in here.items():
        equal(labels, exported[name], f"labels of {name} in telemetry/README.md")
    types = {name.removeprefix("leeward_") for name in page(shared().active[0]).types}
    equal(types & set(absent), set(), "names that are called absent")
    equal(types - set(here) - {name for name in types if name.startswith(ETCD)}, set(), "names that telemetry/README.md lacks")


def check_family(metrics, name, kind, labels, peers):
    full = "leeward_" + name
    equal(metrics.types.get(full), kind, f"type of {name}")
    series = metrics.series(full + ("_count" if kind == "histogram" else ""))
    expect(series or labels, f"{name} has no sample")
    size = 1
    for label, closed in labels.items():
        closed = peers if closed == "peers" else closed
        together = label.split(",")
        seen = {s[label] for s in series} if len(together) == 1 else {tuple(s[part] for part in together) for s in series}
        if closed is not None:
            equal(seen, closed, f"{name}{{{label}}}")
            size *= len(closed)
    for s in series:
        equal(set(s), set(",".join(labels).split(",")) - {""}, f"labels of {name}")
    if all(closed is not None for closed in labels.values()):
        equal(len(series), len(peers) if labels and "peers" in labels.values() else size, f"series of {name}")


def check_histograms(metrics):
    for name, kind in metrics.types.items():
        if kind != "histogram":
            continue
        for labels in metrics.series(name + "_count"):
            buckets = [(float(s["le"].replace("+Inf", "inf")), metrics.samples[(name + "_bucket", tuple(s.items()))])
                       for s in metrics.series(name + "_bucket") if {k: v for k, v in s.items() if k != "le"} == labels]
            values = [v for _, v in sorted(buckets)]
            expect(len(buckets) <= 20 and values == sorted(values), f"buckets of {name}{labels}")
            equal(values[-1], metrics.samples[(name + "_count", tuple(labels.items()))], f"{name}{labels} +Inf")


def every_metric_of_the_contract_is_exported_by_every_node():
    c = shared()
    for node in c.nodes:
        metrics = page(node)
        peers = {str(n.id) for n in c.nodes if n.standby == node.standby and n is not node}
        for name, (kind, labels) in CONTRACT.items():
            check_family(metrics, name, kind, labels, peers)
        for name in PROCESS:
            expect((name, ()) in metrics.samples, f"{name} is missing")
        check_histograms(metrics)
        for (name, labels), value in metrics.samples.items():
            expect(not math.isnan(value), f"{name}{labels} is NaN")
            expect(name.startswith(("leeward_", "process_") + ETCD), f"{name} has no known prefix")
            expect(not {"job", "cluster", "region"} & {k for k, _ in labels}, f"{name} uses a target label")
        extra = {n for n in metrics.types if n.startswith("leeward_")} - {"leeward_" + n for n in CONTRACT}
        equal(extra, set(), "families that this test does not know")
        for name, kind in metrics.types.items():
            if name.startswith("leeward_"):
                equal(kind == "counter", name.endswith("_total"), f"{name} is a {kind}")


def all_three_ports_show_one_page():
    node = shared().active[0]
    def one_page():  # asked one after the other: a series may begin in between
        pages = [page(node, port) for port in (9090, 8080, 2379)]
        for other in pages[1:]:
            equal(set(other.samples), set(pages[0].samples), "series")
            equal(other.types, pages[0].types, "types")
    soon("one page on three ports", one_page)


def figures_agree_with_what_leewardctl_says():
    c = shared()
    leader = c.leader()
    bench("put", "--endpoints", leader.client, "--inflight", 20, "--total", 500, "--keys", 50)
    lease = leader.sent_again("/v3/lease/grant", {"TTL": "600", "ID": "0"})["ID"]
    revision = int(leader.sent_again("/v3/kv/range", {"key": "YQ=="})["header"]["revision"])
    # A status is that of an instant ago.
    wait_for("all to say that they have applied it", lambda: all(int(n.status()["revision"]) == revision for n in c.nodes))
    def settled():
        status = {int(m["id"]): m for m in leader.status()["members"]}
        return len({m["applied_index"] for m in status.values() if m["role"] == "primary"}) == 1 and \
            len({m["position_index"] for m in status.values()}) == 1 and status
    wait_for("all to have applied the same", settled)
    for node in c.nodes:
        # Entries of the group's own may still come.
        wait_for(f"{node.name} to show what ctl says", lambda n=node: page(n)("applied_index") ==
                 {int(m["id"]): int(m["applied_index"]) for m in n.status()["members"]}[n.id])
        wait_for("the revision's metric", lambda n=node: page(n)("revision_in_epoch") == revision)
        soon(f"{node.name}'s figures", lambda node=node: figures_of(node, {int(m["id"]): m for m in leader.status()["members"]}[node.id]))
    metrics = page(leader)
    expect(metrics("proposals_total", result="committed") > 0, "proposals")
    expect(metrics("rpc_requests_total", method="Put", code="OK") >= 500, "rpc_requests_total")
    equal(metrics.samples[("leeward_rpc_duration_seconds_count", (("method", "Put"),))],
          sum(value for (name, labels), value in metrics.samples.items() if name == "leeward_rpc_requests_total" and ("method", "Put") in labels),
          "durations and requests")
    expect(metrics("connections", listener="peer") >= 2, "peer connections")
    wait_for("round trips to be sampled", lambda: all(
        page(leader).samples[("leeward_peer_rtt_seconds_count", (("peer", str(n.id)),))] > 0 for n in c.active if n is not leader))
    leader.post("/v3/lease/revoke", {"ID": lease})
    revision = leader.status()["revision"]
    leader.post("/v3/kv/compaction", {"revision": revision})
    wait_for("the compaction to be swept", lambda: all(
        page(n)("compacted_revision_in_epoch") == int(revision) and
        page(n).samples[("leeward_compaction_duration_seconds_count", ())] == 1 for n in c.active))


def figures_of(node, m):
    """Its page against its row of a status."""
    metrics = page(node)
    equal(metrics("keys"), 50, f"{node.name} keys")
    equal(metrics("leases"), 1, f"{node.name} leases")
    equal(metrics("is_leader"), float(m["state"] == "leader"), f"{node.name} is_leader")
    equal(metrics("is_primary"), float(not node.standby), f"{node.name} is_primary")
    expect(0 < time.time() - metrics("lineage_created_timestamp_seconds") < 3600, "lineage_created_timestamp_seconds")
    equal((metrics("has_leader"), metrics("member_admitted"), metrics("dr_armed")), (1, 1, 1))
    equal(metrics("cluster_members", role="primary", status="follower"), 2, node.name)
    expect(metrics("leader_changes_total") >= 1, "leader_changes_total")
    expect(0 < metrics("disk_free_bytes", volume="wal") < metrics("disk_total_bytes", volume="wal"), "disk")
    expect(metrics("wal_bytes_total") > 500 * 256 * 0.5 or node.standby, f"{node.name} wal_bytes_total")
    equal(metrics("tls_certificate_expiry_timestamp_seconds", use="client"), math.inf)
    if node.standby:
        expect(metrics("standby_lag_seconds", bound="low") <= metrics("standby_lag_seconds", bound="high") < 10, "lag")


def each_stage_of_a_write_is_timed_where_it_happens():
    c = shared()
    watching = [subprocess.Popen(["etcdctl", f"--endpoints={n.client}", "watch", "stage"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, env={**os.environ, "ETCDCTL_API": "3"}) for n in c.nodes]
    wait_for("the watches to stand", lambda: all(page(n)("watchers") == 1 for n in c.nodes))

    def counts(nodes, stage):
        return sum(page(n)("stage_duration_seconds_count", stage=stage) for n in nodes)

    places = {"queue": c.active, "forward": c.active, "fsync": c.active, "append": c.active, "quorum": c.active,
              "apply": c.active, "watch": c.nodes, "standby_receive": c.standby, "standby_fsync": c.standby,
              "standby_apply": c.standby}
    before = {stage: counts(nodes, stage) for stage, nodes in places.items()}
    seen = {n.id: counts([n], "watch") for n in c.nodes}
    try:
        for n in c.active:  # two of them forward
            n.put("stage", n.name)
        for stage, nodes in places.items():
            wait_for(f"stage {stage} to be counted", lambda s=stage, ns=nodes: counts(ns, s) > before[s])
        def three_each():  # what is sent together is timed once
            c.active[0].put("stage", "again")
            return all(counts([n], "watch") >= seen[n.id] + 3 for n in c.nodes)
        wait_for("every watcher to have had three events in time", three_each, every=0.5)
        equal({counts(c.active, s) for s in places if s.startswith("standby_")}, {0.0}, "standby stages at the primary")
    finally:
        for w in watching:
            w.kill()
            w.wait()
