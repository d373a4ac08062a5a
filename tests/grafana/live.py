"""The run that every panel is asked about, and the real Prometheus that saw it."""
import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import yaml

import etcd_mixin
from leeward import certificates
from leeward.claims import equal, expect, metric
from leeward.clocks import start_ahead
from leeward.cluster import BIN, ROOT, Cluster, Failure, b64, bench, ctl, etcdctl, free_net, wait_for

ALERTS = os.path.join(ROOT, "alerts")
RATE_INTERVAL = "5s"
CERTIFICATE_DAYS = 20
CLOCK_AHEAD = 2  # seconds, of the leader that was killed when it comes back
PUTS_LEFT_BEHIND = 40


class Monitoring:
    """Prometheus and the blackbox exporter over the shipped rules and scrape configuration: only targets, paths and intervals are this run's."""

    def __init__(self, folder, cluster, rules=os.path.join(ALERTS, "rules-*.yaml")):
        self.address, blackbox = f"127.{cluster.net}.9.1:9091", f"127.{cluster.net}.9.1:9115"  # a port that is free now may be somebody's in a moment
        os.makedirs(os.path.join(folder, "targets"))
        for kind, port in (("nodes", "metrics"), ("primary", "admin")):
            groups = [{"targets": [getattr(n, port) for n in nodes], "labels": {"cluster": "live", "region": nodes[0].region}}
                      for nodes in (cluster.active, cluster.standby)]
            with open(os.path.join(folder, "targets", f"{kind}-all.yaml"), "w", encoding="utf-8") as handle:
                yaml.safe_dump(groups, handle)
        with open(os.path.join(ALERTS, "prometheus.yaml"), encoding="utf-8") as handle:
            config = yaml.safe_load(handle.read().replace("127.0.0.1:9115", blackbox))
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        etcds = os.path.join(folder, "etcd-mixin.yaml")
        etcd_mixin.write_rules(etcds)
        config["rule_files"] = [rules, etcds]
        del config["alerting"]
        for job in config["scrape_configs"]:
            job.pop("scrape_interval", None)
        path = os.path.join(folder, "prometheus.yaml")
        with open(path, "w", encoding="utf-8") as handle:
            yaml.safe_dump(config, handle)
        self.processes = []
        for name, command in (("blackbox", ["prometheus-blackbox-exporter", f"--config.file={ALERTS}/blackbox.yaml", f"--web.listen-address={blackbox}"]),
                              ("prometheus", ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address={self.address}"])):
            with open(os.path.join(folder, name + ".log"), "w", encoding="utf-8") as log:
                self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def ask(self, path, **parameters):
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=150) as answer:
            return json.loads(answer.read())["data"]

    def value(self, expr):
        answer = self.ask("query", query=expr)["result"]
        return float(answer[0]["value"][1]) if answer else None

    def series(self, expr, start, end):
        """[(labels, [(time, value)])]; what is not a number is no data."""
        for name, value in (("$cluster", "live"), ("$region", ".+"), ("$__rate_interval", RATE_INTERVAL)):
            expr = expr.replace(name, value)
        expect("$" not in expr, f"a variable is left in {expr}")
        answer = self.ask("query_range", query=expr, start=start, end=end, step=1)["result"]
        return [(s["metric"], [(t, float(v)) for t, v in s["values"] if not math.isnan(float(v))]) for s in answer]

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=120)


class Run:
    """What was done, when, and what this test counted itself."""

    def __init__(self):
        self.phases, self.counted = {}, {}
        self.folder = tempfile.mkdtemp(prefix="leeward-boards-")
        net = free_net()
        self.cluster = Cluster(active=3, standby=3, net=net, settings={"tls": {"peer": certificates.issue(self.folder, net, CERTIFICATE_DAYS)}, "storage": {"checkpoint_interval": 2000}})
        self.monitoring = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for node in self.cluster.nodes:
            if node.alive:
                node.process.send_signal(signal.SIGCONT)
        self.cluster.__exit__(*error)
        if self.monitoring:
            self.monitoring.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def phase(self, name, body, seconds=0.0):
        """Does it, and keeps when that was: at least so long, and until the scrapes of what it left are in: of each node that runs, and none missed at the end."""
        began = time.time()
        body()
        time.sleep(max(2.5, began + seconds - time.time()))
        up = 'sum(up{job="leeward-etcd"})[2s:500ms]'
        running = sum(node.running for node in self.cluster.nodes)
        self.seen(f"the scrapes of {name}", f"min_over_time({up}) == {running} and max_over_time({up}) == {running}")
        self.phases[name] = (began, time.time())
        print(f"   {name}: {time.time() - began:.1f} s", flush=True)

    def seen(self, what, expr, timeout=30):
        return wait_for(what, lambda: self.monitoring.value(expr), timeout, 0.2)

    def dr(self, nodes, *args):
        done = ctl("--endpoints", ",".join(n.client for n in nodes), "-o", "json", "dr", *args, timeout=90)
        return json.loads(done.stdout)

    def everything(self):
        c = self.cluster
        c.start().wait_ready(timeout=60)
        for node in c.standby:
            wait_for(f"{node.name} to be eligible", lambda node=node: node.ok("/standby/eligible"), 30)
        self.monitoring = Monitoring(self.folder, c)
        wait_for("six scrapes and six probes", lambda: self.monitoring.value('sum(up{job="leeward-etcd"})') == 6 and
                 self.monitoring.value('count(probe_success{job="leeward-primary"})') == 6, 40, 0.2)
        self.phase("idle", lambda: None, 8)
        self.phase("load", self.load, 12)
        self.phase("calm", lambda: None, 7)
        self.phase("leader", self.lose_the_leader, 10)
        self.phase("frozen", self.freeze_two_standbys, 8)
        self.thaw()
        self.phase("aside", self.drill_and_set_aside, 6)
        ctl("--endpoints", c.active[0].client, "replica", "rejoin", "--id", c.standby[0].id, timeout=60)
        wait_for("the member to be back", lambda: c.standby[0].ok("/standby/eligible"), 40)
        self.phase("tail", self.leave_a_tail, 4)
        self.phase("lost", self.lose_the_region)
        self.phase("promoted", self.promote, 7)
        self.phase("fenced", self.bring_the_old_region_back, 8)

    def load(self):
        c = self.cluster
        leader = c.leader()
        watches = [subprocess.Popen(["etcdctl", f"--endpoints={leader.client}", "watch", "load", "--prefix"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    env={**os.environ, "ETCDCTL_API": "3"}) for _ in range(3)]
        self.counted["leases"] = 5
        for _ in range(5):
            leader.sent_again("/v3/lease/grant", {"TTL": "600", "ID": "0"})
        for _ in range(20):
            equal(etcdctl(leader.client, "lease", "revoke", "1234", check=False).returncode != 0, True, "a lease that is not there")
        try:
            began = time.monotonic()
            report = bench("put", "--endpoints", leader.client, "--inflight", 4, "--seconds", 8, "--keys", 300, "--prefix", "load/")
            self.counted["puts_per_second"] = report["done"] / (time.monotonic() - began)
            began = time.monotonic()
            report = bench("range", "--endpoints", leader.client, "--inflight", 4, "--seconds", 3, "--keys", 300, "--prefix", "load/")
            self.counted["ranges_per_second"] = report["done"] / (time.monotonic() - began)
            self.counted["keys"] = int(leader.sent_again("/v3/kv/range", {"key": b64("\0"), "range_end": b64("\0"), "count_only": True})["count"])
        finally:
            for watch in watches:
                watch.kill()
                watch.wait()

    def lose_the_leader(self):
        c = self.cluster
        writer = subprocess.Popen([os.path.join(BIN, "leeward-bench"), "steady", "--endpoints", c.endpoints, "--rate", "200", "--connections", "3",
                                   "--inflight", "300", "--prefix", "load/", "--keys", "300", "--seconds", "9", "--quiet"], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            leader = c.leader()
            leader.kill(signal.SIGKILL)
            self.seen("the dead node", 'sum(up{job="leeward-etcd"}) == 5')
            c.leader([n for n in c.active if n is not leader])
            time.sleep(2)  # a peer that is away falls behind for so long
            self.seen("etcd's alert of it", 'count(ALERTS{alertname="etcdMembersDown",region="east"})')
            start_ahead(leader, CLOCK_AHEAD)
            self.counted["wrong_clock"] = leader.metrics
            c.wait_ready([leader], 40)
            self.seen("all nodes", 'sum(up{job="leeward-etcd"}) == 6')
        finally:
            writer.wait(timeout=180)

    def put(self, count):
        leader = self.cluster.leader()
        for i in range(count):
            leader.put(f"more/{i}", "x")

    def freeze_two_standbys(self):
        """The group has no majority: the one that is left hears what is committed and cannot commit it."""
        c = self.cluster
        left = wait_for("a standby that follows", lambda: next(n for n in c.standby if int(n.status()["leader_id"]) not in (0, n.id)))
        for node in c.standby:
            if node is not left:
                node.process.send_signal(signal.SIGSTOP)
        self.put(25)
        self.counted["missing"] = 25
        self.seen("the missing writes", 'max(leeward_source_lag_writes{standby="set"} and on (instance) (leeward_is_leader * leeward_is_primary) == 1) == 25')
        self.seen("the known loss", f'max(leeward_dr_known_loss_writes{{instance="{left.metrics}"}}) == 25')
        self.seen("the budget to be passed", "max(leeward_dr_rpo_exceeded) == 1")

    def thaw(self):
        for node in self.cluster.standby:
            node.process.send_signal(signal.SIGCONT)
        for node in self.cluster.standby:
            wait_for(f"{node.name} to be eligible again", lambda node=node: node.ok("/standby/eligible"), 40)

    def drill_and_set_aside(self):
        c = self.cluster
        asked = c.standby[1]
        done = json.loads(ctl("--endpoints", asked.client, "-o", "json", "dr", "drill", "--id", asked.id, timeout=120).stdout)
        expect(done["passed"], str(done))
        self.counted["drill_s"] = done["rto_ms"] / 1000
        ctl("--endpoints", c.active[0].client, "replica", "isolate", "--id", c.standby[0].id, "--reason", "a test")
        self.restart_the_source()
        self.seen("the member that is set aside", 'sum(leeward_standby_ineligible{check="isolated",region="west"}) == 1')

    def restart_the_source(self):
        """Members of the primary are started again, until the one that the stream came from was among them."""
        c = self.cluster
        reconnects = lambda: sum(metric(n, 'standby_resyncs_total{kind="reconnect"}') for n in c.standby)
        before = reconnects()
        for node in c.active:
            node.kill(signal.SIGKILL)
            node.start()
            c.wait_ready([node], 40)
            try:
                return wait_for("another source", lambda: reconnects() > before, 4)
            except Failure:
                continue
        raise Failure("the stream went on though each of its sources was killed")

    def leave_a_tail(self):
        """Writes that only the primary has when it is lost."""
        self.client = wait_for("the standbys' leader", lambda: next(n for n in self.cluster.standby if int(n.status()["leader_id"]) == n.id))  # of the stream
        for node in self.cluster.standby:
            node.process.send_signal(signal.SIGSTOP)
        self.put(PUTS_LEFT_BEHIND)

    def lose_the_region(self):
        c = self.cluster
        for node in c.active:
            node.kill(signal.SIGKILL)
        self.lost_at = time.time()
        self.client.kill(signal.SIGKILL)  # and with it what the kernel holds for it
        self.client.start()
        for node in c.standby:
            node.process.send_signal(signal.SIGCONT)
        for i in range(20):  # what clients are told meanwhile
            expect(etcdctl(c.standby[0].client, "--command-timeout=1s", "put", "refused", str(i), check=False).returncode != 0, "a write without a primary")
        self.seen("the page of the lost region", 'count(ALERTS{alertname="LeewardPrimaryRegionLost",alertstate="firing"})', 90)
        self.counted["time_to_page"] = time.time() - self.lost_at
        self.seen("the page that nobody serves", 'count(ALERTS{alertname="LeewardNoRegionServes",alertstate="firing"})', 60)
        # Together, for as long as a panel takes to see it: on a busy machine one may end for a scrape that was missed.
        both = 'min_over_time(count(ALERTS{alertname=~"LeewardPrimaryRegionLost|LeewardNoRegionServes",alertstate="firing"})[2s:500ms]) == 2'
        self.annotations = wait_for("both pages", lambda: self.monitoring.value(both) and self.pages(), 90, 0.2)

    def pages(self):
        """What is said of the alerts that fire, once both pages of the lost region do."""
        said = {a["labels"]["alertname"]: a["annotations"] for a in self.monitoring.ask("alerts")["alerts"] if not a["labels"]["alertname"].startswith("etcd")}
        return said if {"LeewardPrimaryRegionLost", "LeewardNoRegionServes"} <= set(said) else None

    def promote(self):
        plan = wait_for("a plan that is allowed", lambda: (p := self.dr(self.cluster.standby, "plan"))["allowed"] and p)
        command = plan["next_command"].split()
        done = self.dr(self.cluster.standby, *command[2:], "--reason", "the region is lost")
        self.counted["promotion_s"] = sum(step["ms"] for step in done["steps"]) / 1000
        wait_for("the region to serve", lambda: self.cluster.standby[0].ok("/primary"), 20)

    def bring_the_old_region_back(self):
        c = self.cluster
        for node in c.active:
            node.start()
        # For two seconds, as the boards ask once a second: the three may be scraped up to a second apart.
        self.seen("the old region to be fenced", 'min_over_time(sum(leeward_is_fenced{region="east"})[2s:500ms]) == 3', 60)
        # Each is fenced by proof, the group a moment later by its log.
        wait_for("the old region to go back", lambda: self.dr(c.active, "rejoin"))
        self.seen("the ledger", 'max(leeward_dr_ledger_entries{region="east",class="kept"}) > 0', 60)
        self.seen("the old region to follow", 'max(leeward_epoch{region="east"}) == 2', 60)
