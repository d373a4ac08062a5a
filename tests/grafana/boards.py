"""The committed boards: what the source makes, and what a board must have."""
import glob
import json
import os
import re
import subprocess
import tempfile

import yaml

from leeward.claims import equal, expect
from leeward.cluster import ROOT

GRAFANA = os.path.join(ROOT, "grafana")

# Rules of grafana/dashboard-linter that the boards do not follow, and why.
EXCEPTIONS = {
    "template-job-rule": "all targets are of one job, by contract; boards choose by cluster and region",
    "template-instance-rule": "nodes are told apart in the legend; a choice of them would hide a node that is missing",
    "target-job-rule": "as template-job-rule: `leeward_` names occur in no other job",
    "target-instance-rule": "as template-instance-rule",
    "target-counter-agg-rule": "a few panels show a counter's total, since what they count is rare: COUNTS",
}
# Panels of a counter as it stands.
COUNTS = {"Promotions", "Resyncs", "Hashes that differed", "Damage found", "Abnormal exits", "Log lines dropped"}


def boards():
    """uid -> board."""
    found = {}
    for path in sorted(glob.glob(os.path.join(GRAFANA, "dashboards", "*.json"))):
        with open(path, encoding="utf-8") as handle:
            made = json.load(handle)
        equal(os.path.basename(path), made["uid"] + ".json", "the file of a board")
        found[made["uid"]] = made
    return found


def panels():
    """(board, panel) of each but the rows."""
    return [(made, p) for made in boards().values() for p in made["panels"] if p["type"] != "row"]


def the_boards_are_what_the_source_makes():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([os.path.join(GRAFANA, "generate"), folder], capture_output=True, text=True, timeout=30, check=False)
        equal(done.returncode, 0, done.stderr)
        equal(sorted(os.listdir(folder)), [uid + ".json" for uid in sorted(boards())], "boards")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), encoding="utf-8") as one, open(os.path.join(GRAFANA, "dashboards", name), encoding="utf-8") as other:
                expect(one.read() == other.read(), f"grafana/dashboards/{name} is not what the source makes; run grafana/generate")


def lint(made):
    """[(rule, what)]: dashboard-linter's rules by their names."""
    faults = []
    variables = {v["name"]: v for v in made["templating"]["list"]}
    source = variables.get("datasource")
    if not source or source["type"] != "datasource" or source["query"] != "prometheus" or source["label"] != "Data source":
        faults.append(("template-datasource-rule", "no variable `datasource` of Prometheus, labelled Data source"))
    for name in ("job", "instance"):
        if name not in variables:
            faults.append((f"template-{name}-rule", f"no variable {name}"))
    for name, variable in variables.items():
        if variable["type"] == "query":
            if variable["refresh"] != 2:
                faults.append(("template-on-time-change-reload-rule", name))
            if not re.fullmatch(r"label_values\((?:[a-z_:]+(?:\{[^}]*\})?, )?[a-z]+\)", variable["query"]):
                faults.append(("template-label-promql-rule", variable["query"]))
            if variable["multi"] and variable["allValue"] != ".+":
                faults.append(("template-label-promql-rule", f"{name}: All is {variable['allValue']}"))
    if made["editable"]:
        faults.append(("uneditable-dashboard-rule", "editable"))
    for p in made["panels"]:
        if p["type"] != "row":
            faults += lint_panel(p)
    return faults


def lint_panel(p):
    faults, title = [], p["title"]
    if p["datasource"] != {"type": "prometheus", "uid": "${datasource}"} or any(t["datasource"] != p["datasource"] for t in p["targets"]):
        faults.append(("panel-datasource-rule", title))
    if not title or len(p["description"]) < 10:
        faults.append(("panel-title-description-rule", title))
    if not p["fieldConfig"]["defaults"]["unit"]:
        faults.append(("panel-units-rule", title))
    if not p["targets"]:
        faults.append(("panel-no-targets-rule", title))
    for t in p["targets"]:
        if any(r != "$__rate_interval" for r in re.findall(r"\[([^\]:]+)[\]:]", t["expr"])):
            faults.append(("target-rate-interval-rule", title))
        if not re.search(r'cluster="\$cluster"', t["expr"]):
            faults.append(("target-cluster-rule", title))
        for name in re.findall(r"leeward_[a-z_]+_total(?![a-z_])", t["expr"]):
            if not re.search(r"(rate|increase|changes)\(" + name, t["expr"]) and title not in COUNTS:
                faults.append(("target-counter-agg-rule", f"{title}: {name}"))
    return faults


def the_boards_follow_the_linters_rules_but_for_the_named_exceptions():
    seen = set()
    for uid, made in boards().items():
        for rule, what in lint(made):
            expect(rule in EXCEPTIONS, f"{uid}: {rule}: {what}")
            seen.add(rule)
    counters = {p["title"] for _, p in panels() for t in p["targets"] for name in re.findall(r"leeward_[a-z_]+_total(?![a-z_])", t["expr"])
                if not re.search(r"(rate|increase|changes)\(" + name, t["expr"])}
    equal(counters, COUNTS, "panels that show a counter as it stands")
    # The rules see what breaks them.
    made = next(iter(boards().values()))
    broken = json.loads(json.dumps(made).replace("$__rate_interval", "5m").replace('"refresh": 2', '"refresh": 1'))
    broken["editable"] = True
    broken["panels"][1]["description"] = broken["panels"][1]["fieldConfig"]["defaults"]["unit"] = ""
    broken["panels"][2]["targets"] = []
    broken["panels"][3]["datasource"] = {"type": "prometheus", "uid": "prometheus"}
    rules = {rule for rule, _ in lint(broken)}
    missed = {"target-rate-interval-rule", "panel-datasource-rule", "template-on-time-change-reload-rule", "uneditable-dashboard-rule",
              "panel-title-description-rule", "panel-units-rule", "panel-no-targets-rule"} - rules
    equal(missed, set(), "broken rules that were not seen")


def titles_places_and_thresholds_are_sound():
    for uid, made in boards().items():
        titles = [p["title"] for p in made["panels"] if p["type"] != "row"]
        equal(len(titles), len(set(titles)), f"titles of {uid}")
        taken = set()
        for p in made["panels"]:
            place = p["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            expect(place["x"] + place["w"] <= 24 and not cells & taken, f"{uid}: {p['title']} lies over another panel")
            taken |= cells
            if p["type"] != "row":
                steps = [s["value"] for s in p["fieldConfig"]["defaults"]["thresholds"]["steps"]]
                expect(steps[0] is None and steps[1:] == sorted(steps[1:]), f"{uid}: thresholds of {p['title']}")
                expect(p["fieldConfig"]["defaults"]["color"]["mode"] != "thresholds" or len(steps) >= 1, p["title"])


def alerts_and_boards_lead_to_each_other():
    names, uids = set(), set()
    for path in glob.glob(os.path.join(ROOT, "alerts", "rules-*.yaml")):
        with open(path, encoding="utf-8") as handle:
            for group in yaml.safe_load(handle)["groups"]:
                for rule in group["rules"]:
                    if "alert" in rule:
                        names.add(rule["alert"])
                        uids.add(re.match(r"https://grafana\.example/d/([a-z-]+)", rule["annotations"]["dashboard_url"])[1])
    equal(uids - set(boards()), set(), "boards that alerts name and nobody made")
    linked = 0
    for made, p in panels():
        for link in p["links"]:
            linked += 1
            name = re.fullmatch(r"https://leeward\.example/runbooks/(\w+)\.md", link["url"])
            expect(name and name[1] in names, f"{made['uid']}: {p['title']} leads to {link['url']}, which is no alert's")
    expect(linked > 40, f"only {linked} panels lead to a runbook")


def provisioning_is_yaml_that_names_what_is_there():
    with open(os.path.join(GRAFANA, "provisioning", "dashboards", "leeward.yaml"), encoding="utf-8") as handle:
        provider = yaml.safe_load(handle)["providers"][0]
    expect(provider["type"] == "file" and provider["options"]["path"].startswith("/"), str(provider))
    with open(os.path.join(GRAFANA, "provisioning", "datasources", "leeward.yaml"), encoding="utf-8") as handle:
        sources = yaml.safe_load(handle)["datasources"]
    equal(({s["type"] for s in sources}, len({s["uid"] for s in sources})), ({"prometheus"}, 2), "data sources")


TESTS = [the_boards_are_what_the_source_makes, the_boards_follow_the_linters_rules_but_for_the_named_exceptions,
         titles_places_and_thresholds_are_sound, alerts_and_boards_lead_to_each_other, provisioning_is_yaml_that_names_what_is_there]
