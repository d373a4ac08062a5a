#!/usr/bin/env python3
"""Two regions of three real nodes for a Go test, with a relay between them.

usage: tests/compat/regions.py DELAY [SECTION.KEY=VALUE ...]

Prints one line of JSON that names the nodes once the standbys are eligible, then obeys
lines on its standard input, each answered by `ok` or `error: ...`, and ends
everything when that ends: so nothing outlives the test.

    kill NAME ...    SIGKILL, all before the first is waited for
    start NAME ...
    relay COMMAND    to tests/relay
    log NAME         the last lines of a node's log, as JSON
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "relay")]
from leeward.cluster import BIN, Cluster, FarNode, wait_for  # noqa: E402
from relay import Relay  # noqa: E402


def obey(cluster, relay, line):
    command, _, rest = line.partition(" ")
    if command == "relay":
        return relay.tell(rest)
    nodes = [next(n for n in cluster.nodes if n.name == name) for name in rest.split()]
    if command == "kill":
        for node in nodes:
            node.kill(wait=False)
        for node in nodes:
            node.process.wait()
    elif command == "start":
        for node in nodes:
            node.start()
    elif command == "log":
        return json.dumps("\n".join(nodes[0].log_text().splitlines()[-40:]))
    else:
        raise ValueError(f"no command {command}")
    return ""


def main():
    settings = {}
    for item in sys.argv[2:]:
        key, value = item.split("=", 1)
        section, key = key.split(".", 1)
        settings.setdefault(section, {})[key] = value
    cluster = Cluster(active=3, standby=3, settings=settings)
    for node in cluster.nodes:
        node.__class__ = FarNode
    with Relay({n.name: (f"{n.host}:7380", n.peer) for n in cluster.nodes}, delay=sys.argv[1]) as relay, cluster:
        cluster.start().wait_ready(timeout=60)
        for node in cluster.standby:
            wait_for(f"{node.name} to be eligible", lambda node=node: node.ok("/standby/eligible"), 30)
        print(json.dumps({"ctl": os.path.join(BIN, "leewardctl"),
                          "nodes": [{"name": n.name, "client": n.client, "standby": n.standby} for n in cluster.nodes]}), flush=True)
        for line in sys.stdin:
            try:
                print("ok " + obey(cluster, relay, line.strip()), flush=True)
            except Exception as error:  # the test decides what it means
                print(f"error: {error}".replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
