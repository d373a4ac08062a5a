"""Starts, stops and asks real nodes.

Every node has an address of its own in 127.0.0.0/8, so all use the default
ports: active nodes 127.<net>.1.<n>, standbys 127.<net>.2.<n>, observers
127.<net>.3.<n>.
"""
import base64
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BIN = os.environ.get("LEEWARD_BIN", os.path.join(ROOT, "build", "release", "bin"))


class Failure(Exception):
    """A claim that did not hold."""


PATIENCE = 3  # limits of waits are those of an idle machine; a busy or slow one gets so many times as long
# What an asked node may answer while it starts, ends or hands over, and a list that does not have yet what is looked for in it.
NOT_YET = (OSError, Failure, ValueError, LookupError, StopIteration, http.client.HTTPException, subprocess.SubprocessError)

# Of a group that elects, that has not heard of its own promotion yet, or whose primary was not heard for a moment.
ELECTION = re.compile("etcdserver: (no leader|leader changed|request timed out)|region \\S+ has no leader|the cluster has no leader|"
                      "the leader changed meanwhile|leads [^:]+: ask it at|there is no connection available|hears no primary")


def wait_for(what, condition, timeout=20.0, every=0.02):
    """Waits until condition() is true and returns it; says what it waited for."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except NOT_YET as error:
            last = error
        if time.monotonic() > end:
            raise Failure(f"after {timeout:.0f} s still waiting for {what} (last: {last})")
        time.sleep(every)


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Node:
    def __init__(self, cluster, node_id, name, region, zone, host, standby):
        self.cluster, self.id, self.name, self.region, self.zone = cluster, node_id, name, region, zone
        self.host, self.standby = host, standby
        self.dir = os.path.join(cluster.dir, name)
        self.process = None
        self.programs = BIN
        self.extra = {}

    client = property(lambda self: f"{self.host}:2379")
    peer = property(lambda self: f"{self.host}:2380")
    admin = property(lambda self: f"{self.host}:8080")
    metrics = property(lambda self: f"{self.host}:9090")
    alive = property(lambda self: self.process is not None and self.process.poll() is None)

    @property
    def running(self):
        """Alive, and not stopped by a signal."""
        if not self.alive:
            return False
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as handle:
            return handle.read().rsplit(")", 1)[1].split()[0] != "T"

    def config(self):
        c = self.cluster
        member = lambda n: (f'{{ id = {n.id}, name = "{n.name}", peer = "{n.peer}", client = "{n.client}", '
                            f'region = "{n.region}", zone = "{n.zone}" }}')
        lines = ["[node]", f"id = {self.id}", f'name = "{self.name}"', f'region = "{self.region}"',
                 f'zone = "{self.zone}"', f'data_dir = "{self.dir}/data"', "",
                 "[listen]", f'client = "{self.client}"', f'peer = "{self.peer}"', f'admin = "{self.admin}"',
                 f'metrics = "{self.metrics}"', "",
                 "[cluster]", f'name = "{c.name}"', f'bootstrap = "{self.extra.get("bootstrap", "new")}"',
                 "members = [" + ", ".join(member(n) for n in c.active) + "]", ""]
        if c.standby:
            lines += ["[standby]", f'region = "{c.standby[0].region}"',
                      "members = [" + ", ".join(member(n) for n in c.standby) + "]"]
            if c.observers:
                lines.append(f'observers = [{{ region = "{c.observers[0].region}", members = ['
                             + ", ".join(member(n) for n in c.observers) + "] }]")
            lines.append("")
        sections = {"admin": {"insecure": True, "socket": os.path.join(self.dir, "admin.sock")},
                    "log": {"level": "info", "format": "json", "output": os.path.join(self.dir, "log")}}
        for source in (c.settings, self.extra.get("settings", {})):
            for section, values in source.items():
                sections.setdefault(section, {}).update(values)
        for section, values in sections.items():
            lines.append(f"[{section}]")
            lines += [f"{k} = {self.toml(v)}" for k, v in values.items()]
            lines.append("")
        return "\n".join(lines)

    @staticmethod
    def toml(value):
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{k} = {Node.toml(v)}" for k, v in value.items()) + " }"
        return json.dumps(value)

    def start(self, *args):
        os.makedirs(self.dir, exist_ok=True)
        path = os.path.join(self.dir, "leeward.toml")
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(self.config())
        stderr = open(os.path.join(self.dir, "stderr"), "ab")
        self.process = subprocess.Popen([os.path.join(self.programs, "leewardd"), "--config", path, *args],
                                        stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                                        env={**{k: v for k, v in os.environ.items() if k != "LEEWARD_BIN"},
                                             **self.cluster.environment})
        stderr.close()
        return self

    def kill(self, how=signal.SIGKILL, wait=True):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=PATIENCE * 40) if wait else None

    def wipe(self):
        shutil.rmtree(os.path.join(self.dir, "data"), ignore_errors=True)

    def get(self, path, timeout=5.0):
        """(status, body) of a path on the admin port."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ok(self, path):
        try:
            return self.get(path)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def post(self, path, body=None, timeout=20.0):  # longer than the node's own limits.request_timeout
        """JSON in, JSON out on the client port's gateway; raises Failure on an error answer."""
        request = urllib.request.Request(f"http://{self.client}{path}", json.dumps(body or {}).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise Failure(f"{self.name} {path}: {error.code} {error.read().decode()[:300]}") from None

    def sent_again(self, path, body):
        """A call that an election ends is sent again, as a client would: a leader may change whenever the machine stands still for a second."""
        for attempt in range(1 + 2 * PATIENCE):
            try:
                return self.post(path, body)
            except Failure as failure:
                if attempt == 2 * PATIENCE or not ELECTION.search(str(failure)):
                    raise
                time.sleep(0.5)

    def put(self, key, value):
        return self.sent_again("/v3/kv/put", {"key": b64(key), "value": b64(value)})

    def value(self, key, serializable=False):
        answer = self.sent_again("/v3/kv/range", {"key": b64(key), "serializable": serializable})
        kvs = answer.get("kvs", [])
        return base64.b64decode(kvs[0].get("value", "")).decode() if kvs else None

    def status(self):
        return self.post("/v3/cluster/status")

    def log_text(self):
        text = ""
        for name in ("stderr", "log"):
            path = os.path.join(self.dir, name)
            if os.path.exists(path):
                text += open(path, encoding="utf-8", errors="replace").read()
        return text


class FarNode(Node):
    """Sees the members of the other region at the relay's addresses."""

    def config(self):
        text = super().config()
        for node in self.cluster.nodes:
            if node.standby != self.standby:
                text = text.replace(f'peer = "{node.peer}", client', f'peer = "{node.host}:7380", client')
        return text


TAKEN = {}  # net -> the socket that takes it, until the process ends or gives it back


def free_net():
    """A net that no other test on the machine has taken, whether its nodes run at the moment or not, and whose peer ports nobody holds."""
    for net in random.sample(range(10, 251), 241):
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            taken.bind((f"127.{net}.255.1", 2380))
            for host in (f"127.{net}.{region}.{n}" for region in (1, 2, 3) for n in (1, 2, 3)):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, 2380))
            TAKEN[net] = taken
            return net
        except OSError:
            taken.close()
    raise Failure("no free addresses in 127.0.0.0/8; are there leewardd processes left over?")


class Cluster:
    """Use as a context manager: stops its nodes and removes its files."""

    def __init__(self, active=3, standby=0, net=None, directory=None, name="test", settings=None, environment=None, observers=0):
        self.net, self.own_net = net if net is not None else free_net(), net is None
        self.own_dir = directory is None
        self.dir = directory or tempfile.mkdtemp(prefix="leeward-")
        self.name = name
        self.settings = settings or {}
        self.environment = environment or {}
        self.active = [Node(self, i, f"a{i}", "east", f"east-{'abc'[(i - 1) % 3]}", f"127.{self.net}.1.{i}", False)
                       for i in range(1, active + 1)]
        self.standby = [Node(self, 10 + i, f"s{i}", "west", f"west-{'abc'[(i - 1) % 3]}", f"127.{self.net}.2.{i}", True)
                        for i in range(1, standby + 1)]
        self.observers = [Node(self, 20 + i, f"o{i}", "north", f"north-{'abc'[(i - 1) % 3]}", f"127.{self.net}.3.{i}", True)
                          for i in range(1, observers + 1)]
        self.failed = False

    nodes = property(lambda self: self.active + self.standby + self.observers)
    endpoints = property(lambda self: ",".join(n.client for n in self.active))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.stop()
        if kind is not None:
            for node in self.nodes:
                print(f"--- {node.name}: last lines of its log\n" + "\n".join(node.log_text().splitlines()[-25:]))
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        if self.own_net and self.net in TAKEN:
            TAKEN.pop(self.net).close()

    def start(self, nodes=None):
        for node in nodes or self.nodes:
            node.start()
        return self

    def stop(self):
        for node in self.nodes:
            if node.alive:
                node.process.kill()
        for node in self.nodes:
            if node.process is not None:
                node.process.wait()

    def by_id(self, node_id):
        return next(n for n in self.nodes if n.id == int(node_id))

    def wait_ready(self, nodes=None, timeout=30.0):
        for node in nodes or self.nodes:
            def ready(node=node):
                if not node.alive:
                    raise SystemError(f"{node.name} ended with code {node.process.returncode}:\n"
                                      + "\n".join(node.log_text().splitlines()[-20:]))
                return node.ok("/readyz")
            wait_for(f"{node.name} to be ready", ready, timeout)
        return self

    def leader(self, among=None, timeout=15.0):
        """The active node that says it leads."""
        def find():
            for node in among or self.active:
                if node.alive and node.ok("/leader"):
                    return node
            return None
        return wait_for("a leader", find, timeout)


def fill_beyond_quota(c, mib=100):
    """Writes what can't be compressed, until it is refused for want of room."""
    for i in range(4 * mib):
        try:
            c.leader().sent_again("/v3/kv/put", {"key": b64(f"fill{i % 20}"), "value": base64.b64encode(os.urandom(256 << 10)).decode()})
        except Failure as refused:
            if "space exceeded" in str(refused):
                return
            raise
    raise Failure(f"{mib} MiB went in, and nothing was refused")


def etcdctl(endpoints, *args, check=True, stdin=None, timeout=30, binary="etcdctl", again=None):
    """What an election refuses is asked again where it must not fail, or `again`. Its own limit of 5 s ends a call before the node does; a later --command-timeout among the arguments counts."""
    for _ in range(1 + 2 * PATIENCE):
        done = subprocess.run([binary, f"--endpoints={endpoints}", "--command-timeout=20s", *args], env={**os.environ, "ETCDCTL_API": "3"},
                              input=stdin, capture_output=True, text=True, timeout=PATIENCE * timeout, check=False)
        if done.returncode == 0 or not (check if again is None else again) or not ELECTION.search(done.stderr):
            break
        time.sleep(0.5)
    if check and done.returncode != 0:
        raise Failure(f"etcdctl {' '.join(args)}: {done.stderr.strip()[-300:]}")
    return done


def bench(*args, stdin=None, timeout=300):
    """Runs leeward-bench and returns its JSON report."""
    done = subprocess.run([os.path.join(BIN, "leeward-bench"), *map(str, args), "-o", "json"], input=stdin,
                          capture_output=True, text=True, timeout=PATIENCE * timeout, check=False)
    if not done.stdout.strip():
        raise Failure(f"leeward-bench {' '.join(map(str, args))}: {done.stderr.strip()[-300:]}")
    report = json.loads(done.stdout)
    report["stderr"] = done.stderr
    return report


def ctl(*args, check=True, timeout=30, again=None):
    """`again`: what a group in an election refuses is asked again, as an operator would; of course where it must not fail."""
    for _ in range(1 + 2 * PATIENCE):
        done = subprocess.run([os.path.join(BIN, "leewardctl"), *map(str, args)], capture_output=True, text=True,
                              timeout=PATIENCE * timeout, check=False)
        elects = done.returncode == 4 or ELECTION.search(done.stderr)  # 4: nobody can serve it now
        if not elects or not (check if again is None else again):
            break
        time.sleep(0.5)
    if check and done.returncode != 0:
        raise Failure(f"leewardctl {' '.join(map(str, args))}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return done
