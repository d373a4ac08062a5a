"""One screen at 3 a.m.: is it serving, where, may I promote, what would I lose."""
from panels import BLUE, GREEN, RED, YELLOW, board, graph, query, stat

FOLLOWING = "and on (cluster, region, instance) cluster_region_instance:leeward_following:bool{@} == 1"
YES_NO = {"1": ("yes", GREEN), "0": ("no", RED)}

BOARD = board("leeward-on-call", "Leeward / On call", "Is it serving, where, may I promote, what would I lose.", [
    ("Now", [
        stat("Serves", "Whether a probe of /primary succeeds in any region. No: every write fails.",
             query('max (probe_success{@c, job="leeward-primary"})', "serves"), "short", [(None, RED), (1, GREEN)], "LeewardNoRegionServes", YES_NO),
        stat("Primary region", "Which region is primary by its own word; two at once is LeewardTwoPrimaries.",
             query("cluster_region:leeward_is_primary:max{@}"), "short", [(None, BLUE), (1, GREEN)], "LeewardTwoPrimaries",
             {"1": ("primary", GREEN), "0": ("not primary", BLUE)}),
        stat("Nodes up", "Share of a region's nodes that answer a scrape.", query('avg by (region) (up{@, job="leeward-etcd"})'), "percentunit",
             [(None, RED), (0.6, YELLOW), (1, GREEN)], "LeewardMemberDown"),
        stat("Pages", "Critical alerts that fire for this cluster.",
             query('count (ALERTS{@c, alertstate="firing",severity="critical"})', "firing"), "short", [(None, GREEN), (1, RED)], none="none"),
    ]),
    ("If I promoted now", [
        stat("May be promoted", "Whether a majority of checks lets a following region be promoted: its best member's word. Reasons: the board Disaster recovery.",
             query(f"max by (region) (leeward_standby_promotion_eligible{{@}} {FOLLOWING})"), "short", [(None, RED), (1, GREEN)], "LeewardNoStandbyEligible", YES_NO),
        stat("Known loss", "Writes that the primary had committed by its last answer, and the following region has not. +Inf: unknown.",
             query(f"min by (region) (leeward_dr_known_loss_writes{{@}} {FOLLOWING})"), "short", [(None, GREEN), (1, RED)], "LeewardPrimaryRegionLost"),
        stat("Unknown since", "How long the primary has not been heard; what it committed meanwhile nobody here knows.",
             query(f"min by (region) (leeward_dr_primary_silence_seconds{{@}} {FOLLOWING})"), "s", [(None, GREEN), (5, YELLOW), (10, RED)], "LeewardPrimaryRegionLost"),
        stat("Time to serve", "Estimated from an operator's word to the first write, if the primary were heard no more.",
             query(f"min by (region) (leeward_dr_estimated_rto_seconds{{@}} {FOLLOWING})"), "s", [(None, GREEN), (30, YELLOW), (60, RED)], "LeewardPrimaryRegionLost"),
        stat("Epoch", "Counts the promotions; nodes of a lower one have not heard, or are fenced.",
             query("max by (region) (leeward_epoch{@})"), "short", runbook="LeewardEpochsDiffer"),
        stat("Fenced", "A region that knows of a newer epoch and serves stale reads only.",
             query("max by (region) (leeward_is_fenced{@})"), "short", [(None, GREEN), (1, YELLOW)], "LeewardRegionFenced", {"1": ("fenced", YELLOW), "0": ("no", GREEN)}),
    ]),
    ("The last hour", [
        graph("Requests", "Calls answered, by region.", query('sum by (region) (rate(leeward_rpc_requests_total{@, method=~"Put|Txn|DeleteRange|Range|RangeSerializable"}[$__rate_interval]))'), "reqps"),
        graph("Failed by the server", "Share of calls that failed by the server's fault; the objective allows 0.05 %.",
              query('sum by (region) (rate(leeward_rpc_server_faults_total{@}[$__rate_interval])) / (sum by (region) (rate(leeward_rpc_requests_total{@}[$__rate_interval])) > 0)'),
              "percentunit", [(None, GREEN), (0.0005, RED)], "LeewardErrorBudgetBurn"),
        graph("Lag of the standby region", "The bound that a majority of its members keeps to. Over dr.max_lag it is not eligible.",
              query("cluster_region:leeward_standby_lag_seconds:median{@}"), "s", [(None, GREEN), (1, RED)], "LeewardStandbyOverLimit"),
    ]),
])
