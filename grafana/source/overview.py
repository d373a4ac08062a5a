"""The cluster: who is there, what is asked of it, what it holds and what is left of its hosts."""
from panels import GREEN, RED, YELLOW, board, graph, query, stat

BOARD = board("leeward-overview", "Leeward / Cluster overview", "Members, requests, data and resources.", [
    ("Members", [
        graph("Leader", "The node that leads its region's group.", query("leeward_is_leader{@} == 1", "{{region}} {{instance}}"), "short", runbook="LeewardNoLeader"),
        graph("Members by status", "As the region's leader sees its own and the other group.",
              query("max by (role, status) (leeward_cluster_members{@} and on (instance) leeward_is_leader{@} == 1) > 0", "{{role}} {{status}}"), "short", runbook="LeewardMemberDown"),
        graph("Has a leader", "Whether a region's members know a leader.", query("min by (region) (leeward_has_leader{@})"), "short", [(None, RED), (1, GREEN)], "LeewardNoLeader"),
        graph("Clocks", "How far a node's clock differs from the others' (median). No write or read depends on it; certificates, logs and traces do.",
              query("quantile by (instance) (0.5, abs(leeward_clock_offset_seconds{@}))", "{{instance}}"), "s", [(None, GREEN), (0.1, YELLOW)], "LeewardClockOffset"),
    ]),
    ("Requests", [
        graph("Calls by method", "Calls that ended, a second.", query("sum by (method) (rate(leeward_rpc_requests_total{@}[$__rate_interval])) > 0", "{{method}}"), "reqps"),
        graph("Failed calls by code", "Calls that ended with another code than OK, the client's own errors too.",
              query('sum by (code) (rate(leeward_rpc_requests_total{@, code!="OK"}[$__rate_interval])) > 0', "{{code}}"), "reqps", runbook="LeewardErrorBudgetBurn"),
        graph("Slowest of 100 calls", "99th percentile of the duration, by method.",
              query('histogram_quantile(0.99, sum by (method, le) (rate(leeward_rpc_duration_seconds_bucket{@, method=~"Put|Range|Txn"}[$__rate_interval])))', "{{method}}",
                    exemplar=True),
              "s", [(None, GREEN), (0.1, YELLOW)], "LeewardWritesSlow"),
    ]),
    ("Data", [
        graph("Keys", "Keys that live.", query("max by (region) (leeward_keys{@})"), "short"),
        graph("Size of the state", "Bytes of the state machine's files.", query("max by (region) (leeward_db_size_bytes{@})"), "bytes"),
        graph("Watchers", "Watches that are open.", query("sum by (region) (leeward_watchers{@})"), "short"),
        graph("Leases", "Leases that live.", query("max by (region) (leeward_leases{@})"), "short"),
    ]),
    ("Hosts", [
        graph("Free disk", "Share of each volume that is free.", query("leeward_disk_free_bytes{@} / leeward_disk_total_bytes{@}", "{{instance}} {{volume}}"), "percentunit",
              [(None, RED), (0.05, YELLOW), (0.2, GREEN)], "LeewardDiskAlmostFull"),
        graph("Memory", "Resident memory of a node.", query("process_resident_memory_bytes{@}", "{{instance}}"), "bytes"),
        graph("Connections", "Open connections, by listener.", query("sum by (listener) (leeward_connections{@})", "{{listener}}"), "short"),
        stat("Restart pending", "Nodes that run an older binary than is installed.", query("sum by (region) (leeward_restart_pending{@})"), "short",
             [(None, GREEN), (1, YELLOW)], "LeewardRestartPending"),
    ]),
])
