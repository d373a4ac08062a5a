"""etcd's own mixin, as it was released: its alerts as a rule file, and the queries of its board."""
import json
import os
import subprocess

from leeward.cluster import ROOT

MODULE = os.path.join(ROOT, "tests", "grafana", "mixin")


def evaluated(what):
    """A field of the mixin, its board in the form that needs no library."""
    fetched = subprocess.run([os.path.join(ROOT, "scripts", "go"), "mod", "download", "-json", "go.etcd.io/etcd/v3"], cwd=MODULE,
                             capture_output=True, text=True, timeout=300, check=True)
    source = os.path.join(json.loads(fetched.stdout)["Dir"], "contrib", "mixin", "mixin.libsonnet")
    done = subprocess.run(["jsonnet", "-e", f"((import '{source}') + {{_config+:: {{grafana7x: true}}}}).{what}"],
                          capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def write_rules(path):
    with open(path, "w", encoding="utf-8") as handle:
        json.dump(evaluated("prometheusAlerts"), handle)  # JSON is YAML


def queries():
    """[(panel's title, query)] over job="leeward-etcd", which is what the mixin calls a cluster."""
    out = []
    for board in evaluated("grafanaDashboards").values():
        for panel in [p for row in board["rows"] for p in row["panels"]]:
            out += [(panel["title"], target["expr"].replace('="$cluster"', '="leeward-etcd"')) for target in panel["targets"]]
    return out
