"""Integrity: is the data the same everywhere and undamaged, how did processes end, how long do certificates last."""
from panels import GREEN, RED, YELLOW, board, graph, query, stat

BOARD = board("leeward-integrity", "Leeward / Integrity", "Whether data is the same everywhere, how processes ended, and the objectives.", [
    ("Data", [
        graph("State hashes compared", "Comparisons between regions that were equal, a second. A following region compares when something was written.",
              query('sum by (region) (rate(leeward_hash_comparisons_total{@, result="equal"}[$__rate_interval]))'), "ops", runbook="LeewardHashMismatch"),
        stat("Hashes that differed", "Any is an alarm.", query('sum by (region) (leeward_hash_comparisons_total{@, result="different"})'), "short", [(None, GREEN), (1, RED)], "LeewardHashMismatch"),
        stat("Damage found", "By checksum, chain or state hash, since the processes' start.", query("sum by (kind) (leeward_corruption_detected_total{@})", "{{kind}}"), "short",
             [(None, GREEN), (1, RED)], "LeewardCorruptionFound"),
        stat("Alarms", "nospace: the disk is full. quota: a state has outgrown storage.quota. corrupt: this node's data is not to be trusted.", query("max by (alarm) (leeward_alarm{@})", "{{alarm}}"), "short", [(None, GREEN), (1, RED)], "LeewardNoSpace"),
    ]),
    ("Processes", [
        graph("Up for", "Age of each node's process.", query("time() - process_start_time_seconds{@}", "{{instance}}"), "s"),
        graph("Abnormal exits", "Kept in the data directory, told by the next process.", query("sum by (reason) (leeward_abnormal_exits_total{@})", "{{reason}}"), "short",
              [(None, GREEN), (1, YELLOW)], "LeewardAbnormalExits"),
        graph("Log lines dropped", "Lines that were not written because the disk or pipe behind the log is slow.", query("sum by (region) (leeward_log_dropped_total{@})"), "short",
              [(None, GREEN), (1, YELLOW)], "LeewardLogLinesDropped"),
        stat("Certificates last", "Until the first one of a port ends.", query("min by (use) (leeward_tls_certificate_expiry_timestamp_seconds{@} < Inf) - time()", "{{use}}"), "s",
             [(None, RED), (604800, YELLOW), (2592000, GREEN)], "LeewardCertificateExpiresIn30Days", none="no certificate"),
    ]),
    ("Objectives", [
        graph("Share missed in 5 minutes", "Of calls or time, by objective; slo.yaml says how much is allowed.", query("cluster_region:leeward_slo_bad:ratio_5m{@} >= 0", "{{region}} {{objective}}"), "percentunit",
              runbook="LeewardErrorBudgetBurn", width=12),
        graph("Share missed in 6 hours", "The same, over 6 hours.", query("cluster_region:leeward_slo_bad:ratio_6h{@} >= 0", "{{region}} {{objective}}"), "percentunit", runbook="LeewardErrorBudgetBurn", width=12),
    ]),
])
