"""The marked blocks of runbooks, typed at real nodes as an operator would.

A block's mark says at which region it is typed, how its last line must exit, and a word that must stand in what it says; the
word is one that a region in health does not say:

    <!-- run: east, exit: 0, says: primary silent -->

Procedures name the region (east, west); a runbook of one alert says `here`, the region in question, or `there`, the other one.
`digest: plan` fills $DIGEST from the plan of the region, and words in capitals come from the environment.
"""
import os
import re
import subprocess

from leeward.claims import equal, expect
from leeward.cluster import BIN, wait_for
from commands import RUNBOOKS, text_of

BLOCK = re.compile(r"^<!-- run: (?P<where>east|west|here|there), exit: (?P<exit>\d), says: (?P<says>.+?)(?P<digest>, digest: plan)? -->\n"
                   r"```sh\n(?P<lines>.*?)^```$", re.M | re.S)
# What asks may be asked until it is so; all else is typed once, but for exit 4: nobody can serve it in an election.
ASKS = re.compile(r"status|plan|show|list|metrics|dry-run|rejoin|switchover --to")


class Block:
    def __init__(self, match):
        self.where, self.code, self.says, self.lines = match["where"], int(match["exit"]), match["says"], match["lines"].splitlines()


def blocks(name, part=None):
    """Those of a runbook, by its path without .md under runbooks/, or of one of its parts."""
    text = text_of(os.path.join(RUNBOOKS, name + ".md"))
    if part:
        text = re.search(rf"^## {part}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]
    found = [Block(match) for match in BLOCK.finditer(text)]
    equal(len(found), text.count("```sh"), f"blocks of {name} with and without a mark")
    return found


def type_line(nodes, line, **words):
    """(exit code, what it said) of a line typed by a shell at these nodes."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("LEEWARD_")}  # leewardd would take them for settings
    environment = {**own, "PATH": BIN + os.pathsep + os.environ["PATH"], **words, "LEEWARDCTL_ENDPOINTS": ",".join(n.client for n in nodes)}
    # The words of a text are the operator's to fill in.
    line = re.sub(r"(?<![\w$])(" + "|".join(words) + r")(?!\w)", r"$\1", line) if words else line
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=270, check=False)
    return done.returncode, re.sub(" +", " ", done.stdout + done.stderr)  # how wide a column is is no fact


def type_block(block, nodes, digest=lambda: "", healthy=None, timeout=60, **words):
    """Types it at the nodes until each line does as its mark says. `healthy`: line -> what it said in health."""
    for i, line in enumerate(block.lines):
        last = i == len(block.lines) - 1

        def typed(line=line, last=last):
            code, told = type_line(nodes, line, DIGEST=digest() if "$DIGEST" in line else "", **words)
            if code == block.code and (not last or block.says in told):
                return told or " "
            raise (ValueError if ASKS.search(line) or code == 4 or "try again" in told else SystemError)(f"exit {code}: {told.strip()[-600:]}")
        told = wait_for(f"`{line}` at {block.where} to say {block.says!r}", typed, timeout)
        if last and healthy and line in healthy:
            expect(block.says not in healthy[line], f"`{line}` says {block.says!r} in health too")
        print(f"   {block.where}: {line}: {told.splitlines()[0] if told.strip() else ''}", flush=True)
