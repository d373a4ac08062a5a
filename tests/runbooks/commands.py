"""Runbooks as text: alerts and runbooks one to one, four parts each, and commands that exist."""
import glob
import os
import re
import shlex
import subprocess

import yaml

from leeward.claims import equal, expect
from leeward.cluster import BIN, ROOT

RUNBOOKS = os.path.join(ROOT, "runbooks")
PARTS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]


def text_of(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def files(*under):
    return sorted(glob.glob(os.path.join(RUNBOOKS, *under, "*.md")))


def alerts():
    return {rule["alert"] for path in glob.glob(os.path.join(ROOT, "alerts", "rules-*.yaml"))
            for group in yaml.safe_load(text_of(path))["groups"] for rule in group["rules"] if "alert" in rule}


def alerts_and_runbooks_are_one_to_one():
    named = {os.path.basename(path).removesuffix(".md") for path in files()} - {"README"}
    equal(named, alerts(), "runbooks and alerts")


def each_runbook_has_its_four_parts():
    for path in files():
        name, text = os.path.basename(path).removesuffix(".md"), text_of(path)
        if name == "README":
            continue
        expect(text.startswith(f"# {name}\n"), f"title of {name}")
        equal(re.findall(r"^## (.*)$", text, re.M), PARTS, f"parts of {name}")
        for part, body in zip(PARTS, re.split(r"^## .*$", text, flags=re.M)[1:]):
            expect(len(body.strip()) >= 5 and "TODO" not in body, f"{name}: {part} says nothing")


def what_runbooks_lead_to_is_there():
    names = alerts()
    for path in files() + files("procedures"):
        for target in re.findall(r"\]\(([^)]+)\)", text_of(path)):
            expect(os.path.exists(os.path.join(os.path.dirname(path), target)), f"{os.path.relpath(path, ROOT)} leads to {target}")
        for name in re.findall(r"\bLeeward[A-Z]\w+", text_of(path)):
            expect(name in names, f"{os.path.relpath(path, ROOT)} speaks of {name}, which is no alert")
        for file in re.findall(r"\b(?:standby|alerts|tests)/[\w/.-]+\.(?:md|yaml)", text_of(path)):
            expect(os.path.exists(os.path.join(ROOT, file)), f"{os.path.relpath(path, ROOT)} speaks of {file}")


def commands(text):
    """The commands of blocks, and those in the text."""
    found = [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S) for line in block.splitlines()]
    return found + re.findall(r"`(leewardctl [^`]+)`", text)


HELP = {}


def help_of(words):
    if words not in HELP:
        done = subprocess.run([os.path.join(BIN, "leewardctl"), *words, "--help"], capture_output=True, text=True, timeout=60, check=False)
        HELP[words] = done.stdout if done.returncode == 0 else ""
    return HELP[words]


def wrong_with(command):
    """What is wrong with a command, or None: an unknown word or flag."""
    parts = shlex.split(command)
    if parts[0] in ("curl", "kill"):
        return None
    if parts[0] == "leewardd":
        told = subprocess.run([os.path.join(BIN, "leewardd"), "--help"], capture_output=True, text=True, timeout=60, check=False).stdout
        return next((f"leewardd has no {flag}" for flag in parts[1:] if flag.startswith("--") and not re.search(rf"{flag}\b", told)), None)
    if parts[0] != "leewardctl":
        return f"{parts[0]} is no command of ours"
    words = ()
    for part in parts[1:]:
        if not re.fullmatch(r"[a-z-]+", part) or part.startswith("-") or not re.search(rf"^  {part} ", help_of(words), re.M):
            break
        words += (part,)
    told = help_of(words)
    if not words or "Subcommands:" in told and len(parts) > len(words) + 1:
        return f"leewardctl has no {' '.join(parts[1:])}"
    for flag in (p for p in parts if p.startswith("--")):
        if not re.search(rf"{flag}\b", told + help_of(())):
            return f"leewardctl {' '.join(words)} has no {flag}"
    return None


def each_command_exists_with_its_flags():
    count = 0
    for path in files() + files("procedures"):
        for command in commands(text_of(path)):
            count += 1
            wrong = wrong_with(command)
            expect(wrong is None, f"{os.path.relpath(path, ROOT)}: `{command}`: {wrong}")
    expect(count > 80, f"only {count} commands")
    for command in ("leewardctl dr pormote", "leewardctl dr plan --digest D", "leewardctl", "leewardd --chekc-config", "rm -rf /"):
        expect(wrong_with(command), f"{command} was taken for a command")


TESTS = [alerts_and_runbooks_are_one_to_one, each_runbook_has_its_four_parts, what_runbooks_lead_to_is_there, each_command_exists_with_its_flags]
