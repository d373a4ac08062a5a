"""What the tests of all subjects share: asking a node's ports, reading a metrics page, one cluster to look at."""
import http.client
import json
import os
import re
import subprocess

from leeward.claims import equal, expect
from leeward.cluster import BIN, Cluster, ctl, wait_for


def ask(address, path, method="GET", timeout=15.0):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def code(node, path, method="GET"):
    return ask(node.admin, path, method)[0]


def daemon(*args, environment=None, timeout=60):
    own = {name: value for name, value in os.environ.items() if not name.startswith("LEEWARD_")}
    return subprocess.run([os.path.join(BIN, "leewardd"), *args], capture_output=True, text=True, timeout=timeout,
                          env={**own, **(environment or {})}, check=False)


def one_line(text, *words):
    """The one line of stderr, which must hold these words."""
    lines = text.strip().splitlines()
    equal(len(lines), 1, f"lines of {text!r}")
    for word in words:
        expect(word in lines[0], f"{word!r} not in {lines[0]!r}")
    return lines[0]


class Page:
    """A metrics page, read strictly."""

    NAME = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
    LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')

    def __init__(self, text):
        self.types, self.samples = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line[7:].split(" ")
                expect(name not in self.types, f"{name} has two families")
                self.types[name] = kind
            elif line.startswith("# HELP "):
                expect(len(line.split(" ", 3)) == 4, f"no help: {line}")
            else:
                found = self.NAME.match(line)
                expect(found, f"not a sample: {line!r}")
                key = (found.group(1), tuple(self.LABEL.findall(found.group(2) or "")))
                expect(key not in self.samples, f"a sample twice: {line}")
                self.samples[key] = float(found.group(3).replace("+Inf", "inf"))

    def __call__(self, name, **labels):
        return self.samples[("leeward_" + name, tuple(labels.items()))]

    def series(self, name):
        return [dict(labels) for (n, labels) in self.samples if n == name]


def page(node, port=9090, path="/metrics"):
    status, headers, body = ask(f"{node.host}:{port}", path)
    equal(status, 200, path)
    expect(headers["content-type"].startswith("text/plain; version=0.0.4"), headers["content-type"])
    return Page(body)


def soon(what, claims):
    """claims() holds, all of it at once, now or in a moment: what a node shows is that of an instant ago, and a machine may stand still."""
    return wait_for(what, lambda: claims() or True, 10)


def check_paths(node, wanted, ports=(8080, 9090)):
    def as_wanted():
        for port in ports:
            for path, status in wanted.items():
                got, _, body = ask(f"{node.host}:{port}", path)
                equal(got, status, f"{node.name}:{port}{path} ({body.strip()})")
    soon(f"the paths of {node.name}", as_wanted)


SHARED = {}


def shared():
    """One cluster of two regions for the tests that only look; the last of them breaks it."""
    if not SHARED:
        c = Cluster(active=3, standby=3, settings={"raft": {"election_timeout": "3s"}})  # no election but those made here
        SHARED["cluster"] = c
        c.start().wait_ready(timeout=60)
        wait_for("the standbys to be eligible", lambda: all(n.ok("/standby/eligible") for n in c.standby), 30)
    return SHARED["cluster"]


def ctl_json(c, *args, endpoints=None):
    return json.loads(ctl("--endpoints", endpoints or c.endpoints, "-o", "json", *args).stdout)
