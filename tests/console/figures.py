"""Holds the figures that a page shows against what leewardctl says before and after."""
import json

from leeward.claims import expect
from leeward.cluster import ctl

# Shown and not among the answers of the three commands: their own tests hold them.
ELSEWHERE = ("loss.", "drill.", "slow.", "ledger_entries", "serving")
SLACK_MS = 600    # a member's report, which a lag is aged by, comes twice a second
SLACK_WRITES = 40  # what the steady writer writes in a second, twice


def answers(node):
    told = {}
    for what in (("cluster", "status"), ("standby", "status"), ("dr", "status")):
        told["_".join(what)] = json.loads(ctl("--endpoints", node.client, "-o", "json", *what).stdout)
    return told


def wanted(told):
    """name of a figure -> what leewardctl says; None: not known."""
    cluster, standbys, dr = told["cluster_status"], told["standby_status"].get("standbys", []), told["dr_status"]
    out = {name: cluster[name] for name in ("term", "leader_id", "revision", "position_index")}
    out.update(epoch=dr["epoch"], state=dr["state"], armed_region=dr["armed_region"] or "none")
    out["fencing.mode"] = dr.get("fencing", {}).get("mode") or "none"
    if dr["newest_epoch"] != dr["epoch"]:
        out["newest_epoch"] = dr["newest_epoch"]
    if dr["role"] in ("standby", "observer"):
        out["silence_ms"] = dr.get("silence_ms")
    for group in dr["groups"]:
        name = f"region.{group['region']}"
        out[f"{name}.leader_id"], out[f"{name}.position_index"] = group["leader_id"], group["position_index"]
        if "epoch" in group:
            out[f"{name}.epoch"] = group["epoch"]
    for member in cluster["members"]:
        name = f"member.{member['id']}"
        for field in ("applied_index", "db_bytes"):
            out[f"{name}.{field}"] = member[field]
        out[f"{name}.lag_entries"] = member.get("lag_entries")
        if "report_age_ms" in member:
            out[f"{name}.report_age_ms"] = member["report_age_ms"]
    for standby in standbys:
        name = f"member.{standby['id']}"
        out[f"{name}.lag_high_ms"] = standby.get("lag_high_ms")
        if "lag_high_ms" in standby:
            out[f"{name}.lag_low_ms"] = standby.get("lag_low_ms")
        if "lag_writes" in standby:
            out[f"{name}.lag_writes"], out[f"{name}.lag_bytes"] = standby["lag_writes"], standby.get("lag_bytes")
    return out


def grouped(number):
    return f"{int(number):,}"


def size(number):
    value, unit = float(number), 0
    while value >= 1024 and unit < 4:
        value, unit = value / 1024, unit + 1
    return f"{value:.{1 if unit else 0}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def time(ms):
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms" if ms < 10_000 else f"{ms / 1000:.1f} s"


def rounding(one, other):
    """Whether both are one figure but for how its last digit was rounded."""
    (a, unit), (b, same) = one.rsplit(" ", 1), other.rsplit(" ", 1)
    digits = len(a.partition(".")[2])
    return unit == same and abs(float(a) - float(b)) <= 1.01 * 10 ** -digits


def text_fault(name, shown):
    """Whether the text says what the value is."""
    value, text = shown["value"], shown["text"]
    if value == "":
        return "" if text == "unknown" else f"{name}: unknown is shown as {text!r}"
    if name.endswith("_ms"):
        told = text.removesuffix(" ago")
        return "" if "age_ms" in name and "drill" in name or rounding(told, time(float(value))) else f"{name}: {value} is shown as {text!r}"
    if name.endswith("bytes"):
        return "" if rounding(text, size(value)) else f"{name}: {value} is shown as {text!r}"
    if value.isdigit():
        first = text.split(" ")[0]
        return "" if first == (value if name.endswith("leader_id") and value != "0" else "none" if name.endswith("leader_id") else grouped(value)) \
            or (name == "drill.count" and text == "never") else f"{name}: {value} is shown as {text!r}"
    return "" if text.startswith(value) else f"{name}: {value} is shown as {text!r}"


def number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def fault(name, shown, before, after):
    """Why a shown value is not between what was said before and after; empty: it is."""
    value = shown["value"] or None
    said = (before.get(name), after.get(name))
    if value in [None if s is None else str(s) for s in said]:
        return ""
    figures = [number(s) for s in said if s is not None]
    if value is not None and number(value) is not None and figures and None not in figures:
        kind = name.rsplit(".", 1)[-1]
        slack = SLACK_MS if kind.endswith("_ms") else SLACK_WRITES if kind in ("lag_entries", "lag_writes") else \
            SLACK_WRITES * 1024 if kind == "lag_bytes" else 256 << 10 if kind == "db_bytes" else 0
        if min(figures) - slack <= number(value) <= max(figures) + slack:
            return ""
    return f"{name}: {value} is shown, leewardctl said {said[0]} before and {said[1]} after"


def faults(seen, before, after):
    before, after, shown = wanted(before), wanted(after), seen["figures"]
    out = [fault(name, figure, before, after) for name, figure in shown.items() if name in before or name in after]
    out += [text_fault(name, figure) for name, figure in shown.items()]
    out += [f"{name} is not shown" for name in before if name in after and name not in shown]
    out += [f"{name} is shown, and nobody says it" for name in shown if name not in before and name not in after and not name.startswith(ELSEWHERE)]
    return [f for f in out if f]


def agree(look, node):
    """Looks at a document that was made between two calls of leewardctl; what it shows must lie between their answers.

    An election or a promotion may fall in between: three in a row must not."""
    for attempt in range(3):
        before = answers(node)
        seen = look(documents=2)  # the first may have been made before
        after = answers(node)
        found = faults(seen, before, after)
        if not found:
            return seen
    expect(False, f"at {node.name}, three times:\n  " + "\n  ".join(found))
    return None
