"""A Prometheus and an Alertmanager of the demo's own over the shipped rules, for whoever keeps it running.

Never the packaged services: processes on 127.N.9.1, which end with the nodes. Without the programs there is none.
"""
import glob
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request

from leeward.cluster import ROOT, Failure, wait_for

ALERTS = os.path.join(ROOT, "alerts")
# What is run, as Debian and as upstream name it.
PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager"),
            "blackbox": ("prometheus-blackbox-exporter", "blackbox_exporter")}
PORTS = {"prometheus": 9090, "alertmanager": 9093, "blackbox": 9115}
# One region's example watches at the pace of a day; here somebody looks on.
INTERVAL = "2s"
NOBODY = "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n"


class Monitoring:
    """Runs from start() until its processes are killed; `processes` is empty where a program is missing."""

    def __init__(self, cluster, host):
        self.cluster, self.folder = cluster, os.path.join(cluster.dir, "monitoring")
        self.at = {name: f"{host}:{port}" for name, port in PORTS.items()}
        self.found = {name: next(filter(None, map(shutil.which, names)), None) for name, names in PROGRAMS.items()}
        self.processes = []

    def missing(self):
        return [PROGRAMS[name][0] for name, path in self.found.items() if not path]

    def start(self):
        if self.missing():
            return self
        self._configure()
        flags = {"prometheus": [f"--config.file={self.folder}/prometheus.yaml", f"--storage.tsdb.path={self.folder}/tsdb"],
                 "alertmanager": [f"--config.file={self.folder}/alertmanager.yaml", f"--storage.path={self.folder}/alertmanager",
                                  "--cluster.listen-address="],
                 "blackbox": [f"--config.file={self.folder}/blackbox.yaml"]}
        for name, path in self.found.items():
            with open(os.path.join(self.folder, name + ".log"), "w", encoding="utf-8") as log:
                self.processes.append(subprocess.Popen([path, *flags[name], f"--web.listen-address={self.at[name]}"],
                                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        try:
            wait_for("Prometheus to scrape all nodes", lambda: self._value('sum(up{job="leeward-etcd"})') == len(self.cluster.nodes), 60, 0.2)
        except (Failure, OSError):
            self.stop()
            raise
        return self

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes = []

    def lines(self):
        """For who keeps the demo; what the names mean stands in alerts/README.md."""
        if self.missing():
            return [f"  alerts:   not watched: install {', '.join(self.missing())}, and the demo starts its own"]
        return [f"  alerts:   http://{self.at['prometheus']}/alerts, told to http://{self.at['alertmanager']}/"]

    def _configure(self):
        os.makedirs(os.path.join(self.folder, "targets"))
        for path in [*glob.glob(os.path.join(ALERTS, "rules-*.yaml")), os.path.join(ALERTS, "blackbox.yaml")]:
            shutil.copy(path, self.folder)
        for kind, port in (("nodes", "metrics"), ("primary", "admin")):
            groups = [{"targets": [getattr(n, port) for n in nodes], "labels": {"cluster": "demo", "region": nodes[0].region}}
                      for nodes in (self.cluster.active, self.cluster.standby)]
            with open(os.path.join(self.folder, "targets", f"{kind}-all.yaml"), "w", encoding="utf-8") as handle:
                json.dump(groups, handle)  # which is YAML
        with open(os.path.join(ALERTS, "prometheus.yaml"), encoding="utf-8") as handle:
            config = handle.read()
        for shipped, own in (('"alertmanager-east.example:9093", "alertmanager-west.example:9093"', json.dumps(self.at["alertmanager"])),
                             ("127.0.0.1:9115", self.at["blackbox"]), ("_interval: 15s", f"_interval: {INTERVAL}"),
                             ("_interval: 5s", f"_interval: {INTERVAL}")):
            if shipped not in config:
                raise Failure(f"alerts/prometheus.yaml says no more: {shipped}")
            config = config.replace(shipped, own)
        for name, text in (("prometheus", config), ("alertmanager", NOBODY)):
            with open(os.path.join(self.folder, name + ".yaml"), "w", encoding="utf-8") as handle:
                handle.write(text)

    def _value(self, query):
        url = f"http://{self.at['prometheus']}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                result = json.loads(answer.read())["data"]["result"]
        except OSError:
            return None  # not up yet
        return float(result[0]["value"][1]) if result else None
