"""Starts the browser and tells it what to do. browser.mjs has the commands."""
import json
import os
import shutil
import subprocess

from leeward.cluster import ROOT, Failure

HERE = os.path.dirname(os.path.abspath(__file__))
PLACE = os.path.join(ROOT, "build", "console-browser")


def install():
    """What package-lock.json names, under build/."""
    os.makedirs(PLACE, exist_ok=True)
    stale = False
    for name in ("package.json", "package-lock.json", "browser.mjs"):
        own, there = os.path.join(HERE, name), os.path.join(PLACE, name)
        with open(own, encoding="utf-8") as file:
            text = file.read()
        if not os.path.exists(there) or open(there, encoding="utf-8").read() != text:
            stale |= name != "browser.mjs"
            shutil.copy(own, there)
    if stale or not os.path.isdir(os.path.join(PLACE, "node_modules", "playwright-core")):
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=PLACE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
        if done.returncode:
            for name in ("package.json", "package-lock.json"):
                os.remove(os.path.join(PLACE, name))  # so that the next run tries again
            raise Failure(f"npm ci in {PLACE}: {done.stdout[-1500:]}")


class Browser:
    """A context manager."""

    def __init__(self):
        install()
        self.process = subprocess.Popen(["node", "browser.mjs"], cwd=PLACE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        if not first:
            raise Failure("the browser did not start; scripts/deps installs chromium, and node must be on the PATH")
        self.version = json.loads(first)["version"]

    def tell(self, command, name, **options):
        self.process.stdin.write(json.dumps({"command": command, "name": name, **options}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended"}
        if "error" in answer:
            raise Failure(f"browser: {command} {name}: {answer['error'][:600]}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
