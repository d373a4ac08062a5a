#!/usr/bin/env python3
"""The transcript of standby/README.md, typed again.

usage: tests/e2e/transcript.py --write      puts into the README what the commands say now, to be read as a diff
"""
import json
import os
import re
import shlex
import sys
import time

if __name__ == "__main__":
    HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "relay")]

from leeward.claims import equal, expect  # noqa: E402
from leeward.cluster import Cluster, FarNode, ctl, wait_for  # noqa: E402
from leeward.transcript import Block, Differs, compare, same_but_figures  # noqa: E402
from relay import Relay  # noqa: E402

README, HEADING = "standby/README.md", "A region is lost, promoted, comes back"
ASKS = ("dr status", "dr plan", "dr ledger show")  # change nothing, so they may be asked until all have heard of all


class Regions(Cluster):
    """Two regions and the link between them."""

    def __init__(self):
        super().__init__(active=3, standby=3, settings={"dr": {"primary_silence": "1s"}})
        for node in self.nodes:
            node.__class__ = FarNode
        self.relay = Relay({n.name: (f"{n.host}:7380", n.peer) for n in self.nodes})

    def stop(self):
        super().stop()
        self.relay.close()

    def eligible(self, primary):
        """As the primary region knows it: by each of its members."""
        shown = lambda n: json.loads(ctl("--endpoints", n.client, "-o", "json", "standby", "status").stdout)["standbys"]
        wait_for("three eligible standbys", lambda: all([s["promotion_eligible"] for s in shown(n)] == [True] * 3 for n in primary), 60)

    # What happens between the commands, by the words that stand in the README.

    def begin(self):
        self.start().wait_ready(timeout=60)
        self.eligible(self.active)
        for i in range(20):
            self.active[0].put(f"k{i}", str(i))
        # By the last write: a status is that of a moment ago.
        wait_for("west to have it all", lambda: all(n.value("k19", serializable=True) == "19" for n in self.standby))
        self.relay.tell("* cut both")
        for i in range(25):
            self.active[0].put(f"only/{i}", str(i))
        for n in self.active:
            n.kill()
        self.relay.tell("* reset")  # what is under way was never sent
        self.relay.tell("* heal")
        wait_for("west to notice", lambda: all(not n.ok("/readyz") for n in self.standby), 30)

    def come_back(self):
        for n in self.active:
            n.start()
        wait_for("east to be fenced", lambda: all(n.alive and n.status()["role"] == "fenced" for n in self.active), 30)

    def follow(self):
        self.eligible(self.standby)

    EVENTS = {"the link between the regions breaks; 25 writes later all of east is lost": begin,
              "the nodes of east are started again": come_back,
              "a moment later: east has what west has, and is armed": follow}


def typed(c, line, environment):
    """One `$` line; what it says."""
    for node in c.nodes:
        line = line.replace(f"{node.zone}:2379", node.client)
    words = shlex.split(line)
    if words[0] == "export":
        environment.update(word.split("=", 1) for word in words[1:])
        return ""
    equal(words[0], "leewardctl", f"{line}; the command")
    given = () if "--endpoints" in words else ("--endpoints", environment["LEEWARDCTL_ENDPOINTS"])
    done = ctl(*given, *words[1:], check=False, timeout=90, again=True)
    expect(done.returncode == 0, f"{line}: exit {done.returncode}: {done.stderr}")
    return done.stdout


def play(block, judge):
    """judge(line, what it is told to say, ask) for each command; ask(learned) types it."""
    with Regions() as c:
        environment = {}
        for line, wanted in block.steps:
            if line.startswith("# "):
                expect(line[2:] in Regions.EVENTS, f"{README}: nobody knows what happens at {line!r}; the words: {list(Regions.EVENTS)}")
                Regions.EVENTS[line[2:]](c)
                judge(line, wanted, None)
            else:
                ask = lambda learned, line=line: typed(c, re.sub(r"\b[0-9a-f]{32}\b", lambda m: learned.get(m[0], m[0]), line[2:]), environment)
                judge(line, wanted, ask)


def the_transcript_of_a_lost_region_in_the_readme_is_true():
    block, learned, commands = Block(README, HEADING), {}, []

    def judge(line, wanted, ask):
        if ask is None:
            return equal(wanted, [], f"{line}, which says nothing")
        commands.append(line)

        def same():
            try:
                compare(wanted, ask(learned), learned)
            except Differs as differs:
                raise Differs(f"{README}: {line}: {differs}") from None
            return True
        if any(words in line for words in (*ASKS, "dr rejoin")):  # each is fenced by proof, the group a moment later by its log
            wait_for("the transcript to be true", same, 15, every=0.2)
        else:
            same()
    play(block, judge)
    for words in (*ASKS, "dr promote", "dr rejoin", "dr switchover"):
        expect(any(words in line for line in commands), f"{README} shows no {words}")


def settled(ask, learned):
    """What it says once it has said the same, but for figures, for two seconds: all have heard of all."""
    seen = []

    def still():
        seen.append((time.monotonic(), ask(learned)))
        same = lambda text: [same_but_figures(line) for line in text.splitlines()]
        while same(seen[0][1]) != same(seen[-1][1]):
            seen.pop(0)
        return seen[-1][0] - seen[0][0] > 2 and seen[-1][1]
    return wait_for("an answer that stays", still, 20, every=0.2)


def write():
    block, learned, out = Block(README, HEADING), {}, []
    ids = re.compile(r"\b[0-9a-f]{32}\b")

    def judge(line, wanted, ask):
        text = "" if ask is None else settled(ask, learned) if any(words in line for words in ASKS) else ask(learned)
        learned.update(zip(ids.findall("\n".join(wanted)), ids.findall(text)))
        out.append("\n" * (ask is None and bool(out)) + ids.sub(lambda m: learned.get(m[0], m[0]), line) + "\n" + text)
    play(block, judge)
    block.write("".join(out))


TESTS = [the_transcript_of_a_lost_region_in_the_readme_is_true]

if __name__ == "__main__":
    write() if sys.argv[1:] == ["--write"] else sys.exit(__doc__)
