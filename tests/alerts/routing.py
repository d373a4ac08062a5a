"""Where alerts go, and which of them hide others: amtool, and a real Alertmanager whose receivers are this test's own."""
import collections
import contextlib
import http.server
import json
import os
import random
import socket
import subprocess
import tempfile
import threading
import urllib.request

import yaml

from leeward.claims import equal, expect
from leeward.cluster import wait_for
from rules import ALERTS, alerts, read

CONFIG = os.path.join(ALERTS, "alertmanager.yaml")
RECEIVER = {"critical": "pages", "warning": "tickets", "none": "dead-mans-switch"}
# What a region that is down never hides.
IN_DOUBT = {"LeewardTwoPrimaries", "LeewardContested", "LeewardHashMismatch", "LeewardCorruptionFound", "LeewardLedgerNotEmpty",
            "LeewardLedgerIncomplete", "LeewardNoRegionServes", "LeewardPrimaryRegionLost", "LeewardRegionDown"}


def the_example_configurations_are_valid():
    for command in (["amtool", "check-config", CONFIG],
                    ["prometheus-blackbox-exporter", "--config.check", f"--config.file={os.path.join(ALERTS, 'blackbox.yaml')}"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        equal(done.returncode, 0, done.stdout + done.stderr)


def each_alert_goes_to_its_receiver():
    for _, rule in alerts():
        severity = rule["labels"]["severity"]
        done = subprocess.run(["amtool", "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={RECEIVER[severity]}",
                               f"alertname={rule['alert']}", f"severity={severity}", "cluster=c", "region=east"],
                              capture_output=True, text=True, timeout=60, check=False)
        equal((done.returncode, done.stdout.strip().splitlines()[-1:]), (0, [RECEIVER[severity]]), f"{rule['alert']}: {done.stderr}")


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what is delivered: path -> [message]."""

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.delivered[self.path.strip("/")].append(message)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def free_address():
    """At an address that nobody else takes: a port of 127.0.0.1 that is free now may be somebody's in a moment."""
    host = f"127.{random.randint(2, 250)}.{random.randint(2, 250)}.{random.randint(2, 250)}"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


def for_tests(port):
    """The example, its receivers at this test's address and its waits short. Matchers and groups are as they stand."""
    config = read(CONFIG)
    for receiver in config["receivers"]:
        send_resolved = all(w["send_resolved"] for w in receiver.get("webhook_configs", [{"send_resolved": True}]))
        receiver.pop("pagerduty_configs", None)
        receiver["webhook_configs"] = [{"url": f"http://127.0.0.1:{port}/{receiver['name']}", "send_resolved": send_resolved}]
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = {"0s": "0s", "10s": "1s", "30s": "3s"}[route["group_wait"]]
        route["group_interval"] = "1s"
    config["route"]["routes"][0]["repeat_interval"] = "1s"
    return config


class Alertmanager:
    def __init__(self, folder, port):
        self.address = free_address()
        path = os.path.join(folder, "alertmanager.yaml")
        with open(path, "w", encoding="utf-8") as handle:
            yaml.safe_dump(for_tests(port), handle)
        with open(os.path.join(folder, "log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(["prometheus-alertmanager", f"--config.file={path}", f"--storage.path={folder}/data",
                                             f"--web.listen-address={self.address}", "--cluster.listen-address="],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("Alertmanager to answer", lambda: self.ask("/-/ready") is not None, 20)

    def ask(self, path, body=None):
        request = urllib.request.Request(f"http://{self.address}{path}", json.dumps(body).encode() if body else None,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read().decode()

    def raise_alerts(self, *labels):
        severity = {rule["alert"]: rule["labels"]["severity"] for _, rule in alerts()}
        self.ask("/api/v2/alerts", [{"labels": {"severity": severity[l["alertname"]], **l}, "annotations": {"summary": l["alertname"]}} for l in labels])

    def state(self, cluster):
        """(alertname, region, severity) -> whether it is inhibited."""
        return {(a["labels"]["alertname"], a["labels"].get("region", ""), a["labels"]["severity"]): bool(a["status"]["inhibitedBy"])
                for a in json.loads(self.ask(f'/api/v2/alerts?filter=cluster="{cluster}"'))}


@contextlib.contextmanager
def running():
    with tempfile.TemporaryDirectory() as folder, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.delivered = collections.defaultdict(list)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        manager = Alertmanager(folder, server.server_address[1])
        try:
            yield manager, server.delivered
        finally:
            manager.process.terminate()
            manager.process.wait(timeout=60)
            server.shutdown()


def told(messages):
    return {a["labels"]["alertname"] for m in messages for a in m["alerts"] if a["status"] == "firing"}


def a_region_that_is_down_hides_its_own_alerts_but_not_doubt_nor_another_region():
    names = sorted({rule["alert"] for _, rule in alerts()} - {"Watchdog"})
    with running() as (manager, _):
        manager.raise_alerts({"alertname": "LeewardRegionDown", "cluster": "c", "region": "east"})
        # In west no cause is raised, so that nothing there has a reason to be hidden.
        causes = {rule["source_matchers"][0].split(" = ")[1] for rule in read(CONFIG)["inhibit_rules"]} - {"LeewardErrorBudgetBurn"}
        manager.raise_alerts(*({"alertname": name, "cluster": "c", "region": region} for name in names for region in ("east", "west")
                               if region == "east" or name not in causes),
                             {"alertname": "LeewardTwoPrimaries", "cluster": "c"}, {"alertname": "LeewardMemberDown", "cluster": "other", "region": "east"})
        def judged():
            state = manager.state("c")
            hidden = {name for (name, region, _), inhibited in state.items() if region == "east" and inhibited}
            return hidden >= set(names) - IN_DOUBT and state
        state = wait_for("the region's alerts to be hidden", judged, 10)
        equal({n for (n, region, _), inhibited in state.items() if region == "east" and inhibited} & IN_DOUBT, set(), "hidden although in doubt")
        equal({n for (n, region, _), inhibited in state.items() if region == "west" and inhibited}, set(), "hidden in the surviving region")
        expect(not state[("LeewardTwoPrimaries", "", "critical")], "two primaries were hidden")
        equal(manager.state("other"), {("LeewardMemberDown", "east", "warning"): False}, "an alert of another cluster")


def causes_hide_their_effects_and_pages_their_tickets():
    where = {"cluster": "c", "region": "east"}
    pairs = [({"alertname": "LeewardQuorumLost"}, {"alertname": "LeewardNoLeader"}, {}),
             ({"alertname": "LeewardStandbyDisconnected"}, {"alertname": "LeewardStandbyOverLimit"}, {}),
             ({"alertname": "LeewardRegionFenced"}, {"alertname": "LeewardErrorBudgetBurn", "severity": "critical"}, {}),
             ({"alertname": "LeewardErrorBudgetBurn", "severity": "critical"}, {"alertname": "LeewardErrorBudgetBurn", "severity": "warning"}, {"objective": "streams"}),
             ({"alertname": "LeewardDiskAlmostFull"}, {"alertname": "LeewardDiskFilling"}, {"instance": "a1", "volume": "wal"}),
             ({"alertname": "LeewardQuotaExceeded"}, {"alertname": "LeewardQuotaNear"}, {}),
             ({"alertname": "LeewardCertificateExpiresIn7Days"}, {"alertname": "LeewardCertificateExpiresIn30Days"}, {"instance": "a1", "use": "peer"})]
    with running() as (manager, _):
        for i, (cause, effect, same) in enumerate(pairs):
            here, there = {**where, "cluster": f"c{i}"}, {**where, "cluster": f"c{i}", "region": "west"}
            manager.raise_alerts({**cause, **here, **same}, {**effect, **here, **same}, {**effect, **there, **same})
            key = lambda region, effect=effect: [inhibited for (n, r, s), inhibited in manager.state(f"c{i}").items()
                                                 if n == effect["alertname"] and r == region and s == effect.get("severity", s)]
            wait_for(f"{cause['alertname']} to hide {effect['alertname']}", lambda key=key: key("east") == [True], 10)
            equal(key("west"), [False], f"{effect['alertname']} of another region")


def a_lost_region_is_one_page_and_the_dead_mans_switch_goes_on():
    with running() as (manager, delivered):
        manager.raise_alerts({"alertname": "Watchdog"}, {"alertname": "LeewardPrimaryRegionLost", "cluster": "c", "region": "west"},
                             {"alertname": "LeewardRegionDown", "cluster": "c", "region": "east"}, {"alertname": "LeewardNoRegionServes", "cluster": "c"},
                             *({"alertname": "LeewardMemberDown", "cluster": "c", "region": "east", "instance": f"a{i}"} for i in (1, 2, 3)))
        wait_for("the page", lambda: delivered["pages"], 10)
        wait_for("the dead man's switch to be told again", lambda: len(delivered["dead-mans-switch"]) >= 3, 15)
        equal(len(delivered["pages"]), 1, "pages")
        equal(told(delivered["pages"]), {"LeewardPrimaryRegionLost", "LeewardRegionDown", "LeewardNoRegionServes"}, "what the page tells")
        equal(told(delivered["dead-mans-switch"]), {"Watchdog"}, "what the dead man's switch is told")
        manager.raise_alerts({"alertname": "LeewardMemberDown", "cluster": "c", "region": "west", "instance": "s1"})
        wait_for("the ticket of the surviving region", lambda: told(delivered["tickets"]), 10)
        equal({(a["labels"]["alertname"], a["labels"]["region"]) for m in delivered["tickets"] for a in m["alerts"]},
              {("LeewardMemberDown", "west")}, "tickets")


TESTS = [the_example_configurations_are_valid, each_alert_goes_to_its_receiver,
         a_region_that_is_down_hides_its_own_alerts_but_not_doubt_nor_another_region,
         causes_hide_their_effects_and_pages_their_tickets, a_lost_region_is_one_page_and_the_dead_mans_switch_goes_on]
