"""The rule files and their tests: each alert is whole, has its cases, and a change of it would be noticed."""
import concurrent.futures
import glob
import os
import re
import subprocess
import tempfile

import yaml

from leeward.claims import equal, expect
from leeward.cluster import ROOT

ALERTS = os.path.join(ROOT, "alerts")
CELLS = {"cluster", "region", "instance", "kind", "step", "volume", "use", "reason", "objective", "window"}


def read(path):
    with open(path, encoding="utf-8") as handle:
        return yaml.safe_load(handle)


def rule_files():
    return sorted(glob.glob(os.path.join(ALERTS, "rules-*.yaml")))


def alerts():
    """(file, rule) of each alert."""
    return [(path, rule) for path in rule_files() for group in read(path)["groups"] for rule in group["rules"] if "alert" in rule]


def tests_of():
    """name -> [(file, its head, test)]; an alert's tests bear its name."""
    found = {}
    for path in sorted(glob.glob(os.path.join(ALERTS, "tests", "*.yaml"))):
        whole = read(path)
        for test in whole["tests"]:
            found.setdefault(test["name"], []).append((path, {k: v for k, v in whole.items() if k != "tests"}, test))
    return found


def promtool(*args, cwd=ALERTS):
    return subprocess.run(["promtool", *args], cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


def the_rules_are_valid():
    done = promtool("check", "rules", *rule_files())
    equal(done.returncode, 0, done.stdout + done.stderr)
    done = promtool("check", "config", "prometheus.yaml")
    expect(done.returncode == 0 and f"{len(rule_files())} rule files found" in done.stdout, done.stdout + done.stderr)


def the_rules_pass_their_tests():
    files = sorted(glob.glob(os.path.join(ALERTS, "tests", "*.yaml")))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, done in zip(files, pool.map(lambda path: promtool("test", "rules", path), files)):
            equal(done.returncode, 0, f"{os.path.relpath(path, ROOT)}: {done.stdout}{done.stderr}")


def each_alert_says_how_bad_what_and_where_to_read_on():
    for _, rule in alerts():
        name, notes = rule["alert"], rule["annotations"]
        expect(name == "Watchdog" or re.fullmatch(r"Leeward[A-Z]\w+", name), f"{name} is no name")
        expect(rule["labels"]["severity"] in ("critical", "warning") or name == "Watchdog", f"severity of {name}")
        equal(set(notes), {"summary", "description", "runbook_url", "dashboard_url"}, f"annotations of {name}")
        equal(notes["runbook_url"], f"https://leeward.example/runbooks/{name}.md", name)
        expect(re.match(r"https://grafana\.example/d/leeward-[a-z-]+(\?var-cluster=|$)", notes["dashboard_url"]), f"dashboard of {name}")
        expect("$" not in notes["summary"], f"the summary of {name} differs from alert to alert, so it cannot be grouped by")
        used = set(re.findall(r"\$labels\.(\w+)", notes["description"] + notes["dashboard_url"]))
        expect(used <= CELLS and (name == "Watchdog" or "cluster" in used), f"{name} uses the labels {used}")
        aggregated = re.match(r"(?:\w+ )?(?:max|min|sum|count) by \(([^)]*)\)", rule["expr"].strip().removeprefix("time() - "))
        if aggregated:
            equal(used - set(aggregated[1].split(", ")), set(), f"{name} tells of labels that its expression drops")


def the_metrics_that_rules_read_exist():
    with open(os.path.join(ROOT, "telemetry", "README.md"), encoding="utf-8") as handle:
        table = handle.read().split("### Names")[1].split("### Promised")[0]
    exported = set(re.findall(r"`([a-z_]+)(?:\{[a-z_, ]+\})?`", table))
    with open(os.path.join(ROOT, "ansible", "roles", "backup", "tasks", "main.yaml"), encoding="utf-8") as handle:
        exported |= set(re.findall(r"^ *leeward_(backup_[a-z_]+).* 0$", handle.read(), re.M))
    recorded = {rule["record"] for path in rule_files() for group in read(path)["groups"] for rule in group["rules"] if "record" in rule}
    for path in rule_files():
        for group in read(path)["groups"]:
            for rule in group["rules"]:
                for name in re.findall(r"(?<![\w:])[a-z_]*:?leeward_[a-z_:0-9]+", re.sub(r'"[^"]*"', "", rule["expr"])):
                    plain = re.sub(r"_(bucket|count|sum)$", "", name.removeprefix("leeward_"))
                    expect(name in recorded or plain in exported, f"{rule.get('alert') or rule['record']} reads {name}, which nobody exports")


def each_alert_is_tested_to_fire_to_stay_silent_and_with_all_nodes_gone():
    tests = tests_of()
    for _, rule in alerts():
        name = rule["alert"]
        expect(name in tests, f"{name} has no test")
        series = " ".join(s["series"] for _, _, test in tests[name] for s in test["input_series"])
        expected = [e for _, _, test in tests[name] for e in test["promql_expr_test"]]
        fires = lambda cluster: any(f'cluster="{cluster}"' in s["labels"] for e in expected for s in e["exp_samples"])
        if name == "Watchdog":
            continue
        expect('cluster="fire"' in series and fires("fire"), f"no test in which {name} fires")
        expect('cluster="border"' in series and not fires("border"), f"no test in which {name} stays silent at its border")
        if rule["labels"]["severity"] == "critical":
            expect('cluster="gone"' in series and fires("gone"), f"no test of {name} in which all nodes are gone")


def variants(rule):
    """Changes that a test must notice: another comparison, a bound 5 % nearer, no wait."""
    bound = re.search(r"(==|>|<)( bool)? (\d[\d.]*(?: \* [\d.]+)?)", rule["expr"])
    if bound:
        other = {"==": "!= " + bound[3], ">": f"> 0.95 * {bound[3]}", "<": f"< 1.05 * {bound[3]}"}[bound[1]]
        if bound[3] == "0" and bound[1] != "==":
            other = f"{bound[1]}= 0"
        yield "comparison", {**rule, "expr": rule["expr"][:bound.start()] + other + rule["expr"][bound.end():]}
    if "for" in rule:
        yield "wait", {k: v for k, v in rule.items() if k != "for"}


def noticed(rule, tests, folder):
    """True when a test of this alert fails with the rule in place of its own."""
    files = [f for f in rule_files() if "recording" in f]
    changed = os.path.join(folder, f"{rule['alert']}.yaml")
    with open(changed, "w", encoding="utf-8") as handle:
        # RegionDown stands in where all nodes are gone; it must not be the reason that a test fails.
        others = [r for _, r in alerts() if r["alert"] == "LeewardRegionDown" and rule["alert"] != "LeewardRegionDown"]
        yaml.safe_dump({"groups": [{"name": "changed", "rules": [rule, *others]}]}, handle)
    for _, head, test in tests:
        path = os.path.join(folder, f"{rule['alert']}-test.yaml")
        with open(path, "w", encoding="utf-8") as handle:
            yaml.safe_dump({**head, "rule_files": [*files, changed], "group_eval_order": ["leeward-recording", "changed"], "tests": [test]}, handle)
        if promtool("test", "rules", path).returncode != 0:
            return True
    return False


# What no border can show.
SAME = {("LeewardDiskFilling", "comparison"): "predicted: no figure is exactly 0"}


def a_changed_rule_fails_its_test():
    tests, missed, seen = tests_of(), [], 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        asked = []
        for path, rule in alerts():
            if rule["alert"] in ("Watchdog", "LeewardErrorBudgetBurn"):
                continue
            for what, changed in variants(rule):
                if (rule["alert"], what) in SAME:
                    continue
                own = os.path.join(folder, f"{rule['alert']}-{what}")
                os.mkdir(own)
                asked.append((rule["alert"], what, pool.submit(noticed, changed, tests[rule["alert"]], own)))
        for name, what, answer in asked:
            seen += 1
            if not answer.result():
                missed.append(f"{name} ({what})")
    equal(missed, [], f"changes that no test noticed, of {seen}")
    expect(seen > 60, f"only {seen} changes were made")


def the_objectives_are_those_of_slo_yaml():
    done = subprocess.run([os.path.join(ALERTS, "objectives")], capture_output=True, text=True, timeout=60, check=False)
    equal(done.returncode, 0, done.stderr)
    with open(os.path.join(ALERTS, "rules-objectives.yaml"), encoding="utf-8") as handle:
        expect(handle.read() == done.stdout, "alerts/rules-objectives.yaml is not what alerts/objectives makes; run `alerts/objectives > alerts/rules-objectives.yaml`")
    burns = [rule for _, rule in alerts() if rule["alert"] == "LeewardErrorBudgetBurn"]
    slo = read(os.path.join(ALERTS, "slo.yaml"))
    equal(len(burns), len(slo["objectives"]) * len(slo["burns"]), "burn alerts")
    for bound in ("14.4 * 0.0005", "6 * 0.01", "1 * 0.001"):
        expect(any(bound in rule["expr"] for rule in burns), f"no rule holds {bound}")


def a_wrong_objective_is_one_line():
    with tempfile.TemporaryDirectory() as folder:
        slo = read(os.path.join(ALERTS, "slo.yaml"))
        for change, words in (({"target": 1.5}, "between 0 and 1"), ({"slower_than": 0.07}, "bucket"), ({"calls": []}, "calls")):
            wrong = {**slo, "objectives": {"read_latency": {**slo["objectives"]["read_latency"], **change}}}
            path = os.path.join(folder, "slo.yaml")
            with open(path, "w", encoding="utf-8") as handle:
                yaml.safe_dump(wrong, handle)
            done = subprocess.run([os.path.join(ALERTS, "objectives"), path], capture_output=True, text=True, timeout=60, check=False)
            expect(done.returncode == 2 and len(done.stderr.splitlines()) == 1 and words in done.stderr, f"{change}: {done}")


TESTS = [the_rules_are_valid, the_rules_pass_their_tests, each_alert_says_how_bad_what_and_where_to_read_on,
         the_metrics_that_rules_read_exist, each_alert_is_tested_to_fire_to_stay_silent_and_with_all_nodes_gone,
         a_changed_rule_fails_its_test, the_objectives_are_those_of_slo_yaml, a_wrong_objective_is_one_line]
