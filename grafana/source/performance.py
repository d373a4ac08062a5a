"""Consensus and storage: where the time of a write goes."""
from panels import GREEN, RED, YELLOW, board, graph, query


def slowest(metric, by, legend):
    return query(f"histogram_quantile(0.99, sum by ({by}, le) (rate(leeward_{metric}_bucket{{@}}[$__rate_interval])))", legend)


BOARD = board("leeward-performance", "Leeward / Consensus and storage", "Where the time of a write goes.", [
    ("Writes", [
        graph("Commits", "Writes committed a second, counted where they were proposed.",
              query('sum by (region) (rate(leeward_proposals_total{@, result="committed"}[$__rate_interval]))'), "wps"),
        graph("Commit, slowest of 100", "99th percentile from proposal to commit.", slowest("commit_duration_seconds", "region", "{{region}}"), "s",
              [(None, GREEN), (0.1, RED)], "LeewardWritesSlow"),
        graph("Stages, slowest of 100", "99th percentile of each stage of a write; what is widest is where to look.",
              slowest("stage_duration_seconds", "stage", "{{stage}}"), "s", runbook="LeewardWritesSlow"),
    ]),
    ("Consensus", [
        graph("Leader changes", "Changes of leader that nodes saw, in the interval.", query("max by (region) (increase(leeward_leader_changes_total{@}[$__rate_interval]))"), "short",
              runbook="LeewardLeaderFlapping"),
        graph("Elections", "Elections of nodes, by how they went.", query("sum by (region, result) (increase(leeward_elections_total{@}[$__rate_interval]))", "{{region}} {{result}}"), "short",
              runbook="LeewardLeaderFlapping"),
        graph("Round trips to peers, slowest of 100", "At leaders, to each peer of the group.", slowest("peer_rtt_seconds", "instance, peer", "{{instance}} to {{peer}}"), "s"),
        graph("Entries that peers lack", "As the leader knows; a peer that is away grows.", query("max by (region, peer) (leeward_peer_lag_entries{@})", "{{region}} {{peer}}"), "short",
              runbook="LeewardMemberDown"),
    ]),
    ("Disk", [
        graph("Fsync, slowest of 100", "99th percentile of an fsync of the log, by node.", slowest("wal_fsync_duration_seconds", "instance", "{{instance}}"), "s",
              [(None, GREEN), (0.025, YELLOW)], "LeewardFsyncSlow"),
        graph("Log written", "Bytes a second into the write-ahead log, by region.", query("sum by (region) (rate(leeward_wal_bytes_total{@}[$__rate_interval]))"), "Bps"),
        graph("Log on disk", "Bytes that the log's segments take.", query("max by (region) (leeward_wal_size_bytes{@})"), "bytes", runbook="LeewardRetainedLogRunningOut"),
        graph("Writes since the checkpoint", "What a start would have to replay.", query("max by (region) (leeward_checkpoint_age_writes{@})"), "short"),
    ]),
    ("Load", [
        graph("Calls under way", "Calls that are being served.", query("sum by (region) (leeward_rpc_in_flight{@})"), "short"),
        graph("Slow requests", "Calls slower than limits.slow_request, a second; each has a line in the log.", query("sum by (region) (rate(leeward_slow_requests_total{@}[$__rate_interval]))"), "reqps"),
        graph("Rejected", "Calls and connections turned away, a second.", query("sum by (reason) (rate(leeward_rejected_total{@}[$__rate_interval]))", "{{reason}}"), "reqps",
              [(None, GREEN), (0.1, YELLOW)]),
        graph("Watch events", "Events handed to watchers, a second.", query("sum by (region) (rate(leeward_watch_events_total{@}[$__rate_interval]))"), "ops"),
    ]),
])
