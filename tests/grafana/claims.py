"""What the figure of each panel must do in the run (live.py): board -> panel -> claim.

A claim is given the panel's answers `p` and what the run counted `n`; it is true, or the panel's test has failed. Phases:
idle, load, calm, leader, frozen, aside, tail, lost, promoted, fenced.
"""
import math

from live import CERTIFICATE_DAYS, CLOCK_AHEAD

INF = math.inf


class Answers:
    """The series of a panel, by phase and labels."""

    def __init__(self, series, phases):
        self.series, self.phases = series, phases

    def values(self, phase, **labels):
        start, end = self.phases[phase]
        return [v for own, points in self.series if all(own.get(k) == w for k, w in labels.items())
                for t, v in points if start <= t <= end]

    def max(self, phase, **labels):
        return max(self.values(phase, **labels), default=-INF)

    def min(self, phase, **labels):
        return min(self.values(phase, **labels), default=INF)

    def last(self, phase, **labels):
        """The newest value in a phase: of one series."""
        start, end = self.phases[phase]
        found = [(t, v) for own, points in self.series if all(own.get(k) == w for k, w in labels.items()) for t, v in points if start <= t <= end]
        return max(found)[1] if found else None

    def nodes(self, phase, **labels):
        """The nodes that have a figure in a phase."""
        start, end = self.phases[phase]
        return {own["instance"] for own, points in self.series if all(own.get(k) == w for k, w in labels.items()) and any(start <= t <= end for t, _ in points)}

    def absent(self, phase, **labels):
        return not self.values(phase, **labels)


def near(value, wanted, share):
    return value is not None and abs(value - wanted) <= share * wanted


def about(rate, mean, least=0.4):
    """The highest rate of some seconds, beside the mean of them all: a machine that stands still in between has little of the one and much of the other."""
    return least * mean <= rate <= 4 * mean


EAST, WEST = {"region": "east"}, {"region": "west"}

CLAIMS = {
    "leeward-on-call": {
        "Serves": lambda p, n: p.last("idle") == 1 and p.last("lost") == 0 and p.last("promoted") == 1,
        "Primary region": lambda p, n: (p.last("idle", **EAST), p.last("idle", **WEST)) == (1, 0) and p.last("promoted", **WEST) == 1 and p.last("fenced", **EAST) == 0,
        "Nodes up": lambda p, n: p.last("idle", **EAST) == 1 and any(near(up, 2 / 3, 0.01) for up in p.values("leader", **EAST)) and p.last("lost", **EAST) == 0 and p.last("fenced", **EAST) == 1,
        "Pages": lambda p, n: p.absent("idle") and p.absent("aside") and max(p.max("lost"), p.max("promoted")) >= 2 and p.absent("fenced"),
        "May be promoted": lambda p, n: p.last("idle", **WEST) == 1 and p.last("frozen", **WEST) == 0 and p.last("lost", **WEST) == 1,
        "Known loss": lambda p, n: p.last("idle", **WEST) == 0 and p.max("frozen", **WEST) == n["missing"],
        "Unknown since": lambda p, n: p.max("idle", **WEST) < 5 and p.last("lost", **WEST) > 20 and p.max("lost", **WEST) < n["time_to_page"] + 40,
        "Time to serve": lambda p, n: 0 < p.last("idle", **WEST) < 10 and 0 < p.last("lost", **WEST) < p.last("idle", **WEST),
        "Epoch": lambda p, n: p.last("idle", **WEST) == 1 and p.last("promoted", **WEST) == 2,
        "Fenced": lambda p, n: p.last("idle", **EAST) == 0 and p.max("fenced", **EAST) == 1 and p.last("fenced", **WEST) == 0,
        "Requests": lambda p, n: p.max("load", **EAST) > 5 * max(1, p.max("idle", **EAST)) and about(p.max("load", **EAST), n["puts_per_second"]),
        "Failed by the server": lambda p, n: p.max("load", **EAST) == 0 and p.max("lost", **WEST) > 0.9,
        "Lag of the standby region": lambda p, n: p.max("idle", **WEST) < 5 and p.last("lost", **WEST) > 20,
    },
    "leeward-overview": {
        # Who led at first was killed meanwhile; a slow machine may have changed the leader once more.
        "Leader": lambda p, n: len(p.nodes("idle", **EAST)) == 1 and 1 <= len(p.nodes("frozen", **EAST)) <= 2 and not p.nodes("idle", **EAST) & p.nodes("frozen", **EAST),
        "Members by status": lambda p, n: p.last("idle", role="primary", status="follower") == 2 and p.last("lost", role="primary", status="down") == 3 and
        p.last("fenced", role="primary", status="leader") == 1,
        "Has a leader": lambda p, n: p.min("idle") == 1 and p.last("frozen", **WEST) == 0 and p.last("aside", **WEST) == 1,
        "Calls by method": lambda p, n: about(p.max("load", method="Put"), n["puts_per_second"]) and about(max(p.max("load", method="Range"), p.max("calm", method="Range")), n["ranges_per_second"], 0.2),
        "Failed calls by code": lambda p, n: p.absent("idle", code="NotFound") and p.max("load", code="NotFound") > 0.5 and p.max("lost", code="Unavailable") > 0.5,
        "Slowest of 100 calls": lambda p, n: 0 < p.max("load", method="Put") < 10 and p.max("leader", method="Put") > p.min("load", method="Put"),
        "Keys": lambda p, n: p.last("idle", **EAST) == 0 and p.last("calm", **EAST) == p.last("calm", **WEST) == n["keys"],
        "Size of the state": lambda p, n: p.last("calm", **EAST) > p.last("idle", **EAST) > 0,
        "Watchers": lambda p, n: p.last("idle", **EAST) == 0 and p.max("load", **EAST) == 3 and p.last("calm", **EAST) == 0,
        "Leases": lambda p, n: p.last("idle", **EAST) == 0 and p.last("calm", **EAST) == p.last("calm", **WEST) == n["leases"],
        "Free disk": lambda p, n: near(p.last("idle", volume="wal"), n["disk_free"], 0.05),
        "Memory": lambda p, n: 1e7 < p.min("idle") and p.max("load") > p.max("idle"),
        "Clocks": lambda p, n: 0 <= p.max("calm", instance=n["wrong_clock"]) < 0.1 and near(p.last("frozen", instance=n["wrong_clock"]), CLOCK_AHEAD, 0.1) and
        0 <= p.last("fenced", instance=n["wrong_clock"]) < 0.1,
        "Connections": lambda p, n: p.max("load", listener="client") >= p.max("idle", listener="client") + 3 and p.last("idle", listener="metrics") >= 6 and
        p.last("lost", listener="peer") < p.last("idle", listener="peer"),
        "Restart pending": lambda p, n: p.max("idle") == 0 and p.last("aside", **WEST) == 0,
    },
    "leeward-performance": {
        "Commits": lambda p, n: about(p.max("load", **EAST), n["puts_per_second"]) and p.last("idle", **EAST) == 0,
        "Commit, slowest of 100": lambda p, n: 0 < p.max("load", **EAST) < 10 and p.absent("idle", **EAST),
        "Stages, slowest of 100": lambda p, n: all(p.max("load", stage=s) > 0 for s in ("queue", "fsync", "append", "quorum", "apply", "watch", "standby_receive", "standby_fsync", "standby_apply"))
        and p.max("leader", stage="forward") > 0,
        "Leader changes": lambda p, n: p.last("idle", **EAST) == 0 and p.max("leader", **EAST) > 0,
        "Elections": lambda p, n: p.max("idle", **EAST) == 0 and p.max("leader", result="won", **EAST) > 0,
        "Round trips to peers, slowest of 100": lambda p, n: 0 < p.max("idle") < 5,
        "Entries that peers lack": lambda p, n: p.max("idle", **EAST) < p.max("leader", **EAST),
        "Fsync, slowest of 100": lambda p, n: 0 < p.max("load") < 10 and p.absent("idle", **EAST),
        "Log written": lambda p, n: p.max("load", **EAST) > 100 * n["puts_per_second"] and p.max("load", **WEST) > 100 * n["puts_per_second"] and p.last("idle", **EAST) < 1000,
        "Log on disk": lambda p, n: p.last("calm", **EAST) >= 64 * 1024 * 1024,
        "Writes since the checkpoint": lambda p, n: p.last("idle", **EAST) == 0 and p.max("load", **EAST) > 300 and p.min("leader", **EAST) < max(p.max("load", **EAST), p.max("leader", **EAST)),
        "Calls under way": lambda p, n: p.max("load", **EAST) >= 3 and p.last("idle", **EAST) == 0,
        "Slow requests": lambda p, n: p.last("idle", **EAST) == 0 and p.max("leader", **EAST) > 0,
        "Rejected": lambda p, n: p.max("load") == 0 and len(p.values("load", reason="overloaded")) > 3,
        "Watch events": lambda p, n: p.last("idle", **EAST) == 0 and about(p.max("load", **EAST), 3 * n["puts_per_second"]),
    },
    "leeward-recovery": {
        "Lag band": lambda p, n: p.max("idle", bound="low", **WEST) <= p.max("idle", bound="high", **WEST) < 5 and p.last("lost", bound="high", **WEST) > 20 and p.max("frozen", bound="low", **WEST) > 0.5,
        "Writes missing in the other region": lambda p, n: p.last("idle", **EAST) == 0 and p.max("frozen", **EAST) == n["missing"] and p.max("tail", **EAST) >= 40,
        "Missing for": lambda p, n: p.last("idle", **EAST) == 0 and p.max("frozen", **EAST) > 2,
        "Stream": lambda p, n: p.max("load", **WEST) > 50 * n["puts_per_second"] and p.last("lost", **WEST) == 0,
        "Eligible members": lambda p, n: p.last("idle", **WEST) == 3 and p.last("frozen", **WEST) == 0 and p.last("aside", **WEST) == 2,
        "Why not": lambda p, n: p.absent("idle") and p.last("aside", check="isolated", **WEST) == 1 and p.max("frozen", check="quorum", **WEST) >= 1,
        "Silence of the primary": lambda p, n: p.max("idle", **WEST) < 5 and p.last("lost", **WEST) > 20,
        "Stream and quorum": lambda p, n: p.min("idle", **WEST) == 1 and p.min("frozen", **WEST) == 0,
        "Epoch": lambda p, n: p.last("idle", **EAST) == 1 and p.last("promoted", **WEST) == 2 and p.last("fenced", **EAST) == 2,
        "Role": lambda p, n: p.last("idle", **EAST) == 1 and p.last("promoted", **WEST) == 1 and p.last("fenced", **EAST) == 0,
        "Fenced members": lambda p, n: p.last("idle", **EAST) == 0 and p.max("fenced", **EAST) == 3 and p.max("fenced", **WEST) == 0,
        "Armed": lambda p, n: p.last("idle", **EAST) == 1 and p.last("promoted", **WEST) == 0,
        "Last promotion took": lambda p, n: p.absent("idle") and near(p.last("promoted", **WEST), n["promotion_s"], 0.2),
        "Promotions": lambda p, n: p.absent("idle") and p.last("promoted", kind="promotion", result="done") == 1,
        "Time since the last drill": lambda p, n: p.absent("idle") and 0 <= p.min("aside") < 45 and p.last("lost") > p.min("aside") + 20,
        "The drill's time to serve": lambda p, n: p.last("idle") == 0 and near(p.last("aside"), n["drill_s"], 0.01),
        "Log retained": lambda p, n: p.last("calm", **EAST) >= 64 * 1024 * 1024 and max(p.values("idle")) == 4 * 1024 ** 3,
        "Resyncs": lambda p, n: p.max("idle", kind="reconnect", **WEST) < p.max("aside", kind="reconnect", **WEST),
        "Over the RPO budget": lambda p, n: p.max("idle", **EAST) == 0 and p.max("frozen", **EAST) == 1,
        "Entries in ledgers": lambda p, n: p.last("idle", **EAST) == 0 and p.last("fenced", **EAST) >= 1,
    },
    "leeward-integrity": {
        "State hashes compared": lambda p, n: p.max("load", **WEST) > p.max("idle", **WEST) + 5 and p.last("lost", **WEST) == 0,
        "Hashes that differed": lambda p, n: p.last("idle", **EAST) == p.last("fenced", **WEST) == 0,
        "Damage found": lambda p, n: all(p.last("idle", kind=k) == p.last("fenced", kind=k) == 0 for k in ("log", "stream", "state_hash")),
        "Alarms": lambda p, n: all(p.last("idle", alarm=a) == p.last("fenced", alarm=a) == 0 for a in ("nospace", "corrupt")),
        "Up for": lambda p, n: p.max("leader") > 20 and p.min("fenced") < p.max("fenced") - 60,
        "Abnormal exits": lambda p, n: p.max("idle") == 0 and p.max("leader", reason="unknown") == 1 and p.max("fenced", reason="unknown") >= 4,
        "Log lines dropped": lambda p, n: p.last("idle", **EAST) == p.last("fenced", **WEST) == 0,
        "Certificates last": lambda p, n: p.absent("idle", use="client") and near(p.last("idle", use="peer"), CERTIFICATE_DAYS * 86400, 0.01),
        "Share missed in 5 minutes": lambda p, n: p.last("load", objective="availability", **EAST) == 0 and p.last("lost", objective="standby_lag", **WEST) > p.last("calm", objective="standby_lag", **WEST),
        "Share missed in 6 hours": lambda p, n: p.last("lost", objective="standby_lag", **WEST) > p.last("calm", objective="standby_lag", **WEST),
    },
}
