"""Disaster recovery: both regions, how far one is behind, whether it may take over, and how it went."""
from panels import GREEN, RED, YELLOW, board, graph, query, stat

FOLLOWING = "and on (cluster, region, instance) cluster_region_instance:leeward_following:bool{@} == 1"

BOARD = board("leeward-recovery", "Leeward / Disaster recovery", "How far the other region is behind, whether it may take over, and how it went.", [
    ("Lag", [
        graph("Lag band", "The lag lies between the two bounds, without comparing clocks. Silence makes the upper one grow.",
              query(f"max by (region, bound) (leeward_standby_lag_seconds{{@}} {FOLLOWING})", "{{region}} {{bound}}"), "s", [(None, GREEN), (1, RED)], "LeewardStandbyOverLimit"),
        graph("Writes missing in the other region", "As the primary's leader knows; what a loss now would lose.",
              query('max by (region) (leeward_source_lag_writes{@, standby="set"} and on (cluster, region, instance) (leeward_is_primary{@} * on (cluster, region, instance) leeward_is_leader{@} == 1))'),
              "short", [(None, GREEN), (1000, YELLOW)], "LeewardRPOBroken"),
        graph("Missing for", "Age of the oldest write that the other region lacks, at the primary's leader. It is held against dr.rpo_budget.",
              query('max by (region) (leeward_source_lag_seconds{@, standby="set"} and on (cluster, region, instance) (leeward_is_primary{@} * on (cluster, region, instance) leeward_is_leader{@} == 1))'),
              "s", [(None, GREEN), (1, RED)], "LeewardRPOBroken"),
        graph("Stream", "Bytes a second that come over the link.", query("sum by (region) (rate(leeward_standby_stream_bytes_total{@}[$__rate_interval]))"), "Bps", runbook="LeewardStandbyDisconnected"),
    ]),
    ("May it take over", [
        graph("Eligible members", "Members of the following region that may be promoted.", query(f"sum by (region) (leeward_standby_promotion_eligible{{@}} {FOLLOWING})"), "short",
              [(None, RED), (1, GREEN)], "LeewardNoStandbyEligible"),
        graph("Why not", "Members that fail a check.", query(f"sum by (region, check) (leeward_standby_ineligible{{@}} {FOLLOWING}) > 0", "{{region}} {{check}}"), "short",
              runbook="LeewardNoStandbyEligible", none="none"),
        graph("Silence of the primary", "Since the last answer of its leader.", query(f"min by (region) (leeward_dr_primary_silence_seconds{{@}} {FOLLOWING})"), "s",
              [(None, GREEN), (10, RED)], "LeewardPrimaryRegionLost"),
        graph("Stream and quorum", "Whether the following group has a stream, and a confirmed leader.",
              [query(f"max by (region) (leeward_standby_connected{{@}} {FOLLOWING})", "{{region}} stream"),
               query(f"max by (region) (leeward_standby_group_quorum{{@}} {FOLLOWING})", "{{region}} quorum")], "short", [(None, RED), (1, GREEN)], "LeewardStandbyDisconnected"),
    ]),
    ("Who is what", [
        graph("Epoch", "Each promotion begins one; a region that lags behind is fenced or has not heard.", query("max by (region) (leeward_epoch{@})"), "short", runbook="LeewardEpochsDiffer"),
        graph("Role", "1 primary, by its own word; 0 following or fenced.", query("cluster_region:leeward_is_primary:max{@}"), "short", runbook="LeewardTwoPrimaries"),
        graph("Fenced members", "Members that know of a newer epoch and stopped serving.", query("sum by (region) (leeward_is_fenced{@})"), "short", [(None, GREEN), (1, YELLOW)], "LeewardRegionFenced"),
        graph("Armed", "Whether some region may take over from the primary.", query("max by (region) (leeward_dr_armed{@} and on (cluster, region, instance) leeward_is_primary{@} == 1)"), "short",
              [(None, YELLOW), (1, GREEN)], "LeewardUnarmed"),
    ]),
    ("Promotions", [
        stat("Last promotion took", "From its first step to serving, at the member that carried it out.", query("max by (region) (leeward_dr_last_promotion_duration_seconds{@} > 0)"), "s",
             [(None, GREEN), (10, YELLOW), (60, RED)], "LeewardPromotionStuck", none="none since the start"),
        stat("Promotions", "Of the processes that run, by how they ended.", query("sum by (kind, result) (leeward_dr_promotions_total{@}) > 0", "{{kind}} {{result}}"), "short", none="none since the start",
             runbook="LeewardPromotionStuck"),
        stat("Time since the last drill", "A drill rehearses the promotion on a fork, and disturbs nobody.", query("time() - max (leeward_dr_last_drill_timestamp_seconds{@} > 0)", "age"), "s",
             [(None, GREEN), (2592000, YELLOW)], "LeewardDrillOverdue", none="never"),
        stat("The drill's time to serve", "What the last drill measured.", query("max (leeward_dr_last_drill_rto_seconds{@})", "drill"), "s", [(None, GREEN), (30, YELLOW)], "LeewardDrillOverdue"),
    ]),
    ("Log and ledger", [
        graph("Log retained", "Log kept for a region that is away, and its limit.",
              [query("max by (region) (leeward_dr_retained_log_bytes{@})", "{{region}}"), query("max (leeward_dr_retain_log_limit_bytes{@})", "limit")], "bytes", runbook="LeewardRetainedLogRunningOut"),
        graph("Resyncs", "How often the stream began anew, by kind, since the processes' start.", query("sum by (region, kind) (leeward_standby_resyncs_total{@})", "{{region}} {{kind}}"), "short", runbook="LeewardResyncLoop"),
        graph("Over the RPO budget", "1 while the armed region lags by more than dr.rpo_budget.", query("max by (region) (leeward_dr_rpo_exceeded{@})"), "short", [(None, GREEN), (1, RED)], "LeewardRPOBroken"),
        graph("Entries in ledgers", "What was acknowledged and is in a ledger only.", query('max by (region) (leeward_dr_ledger_entries{@, class="kept"})'), "short", [(None, GREEN), (1, YELLOW)], "LeewardLedgerNotEmpty"),
    ]),
])
