#!/usr/bin/env python3
"""Runs every test that a change must pass and ends with `N passed, N failed`.

usage: scripts/test [NAME ...]      those suites only
       scripts/test --list          their names

A suite whose tool is missing, that does not build or that ran no test counts
as one failure. The time of each suite is printed. Suites that only compute run
beside the others, which mostly wait, at the lowest priority.

Suites of real processes live in real time. One that fails while the machine itself
was seen to stand still (StallWatch) is run once more, and the end names it; where
nothing was seen, or on the second failure, it has failed.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from leeward.stalls import StallWatch  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.chdir(ROOT)
# In simulated time, or none. In this order: fuzz builds on what asan built.
COMPUTE = ("asan", "fuzz", "model", "terraform", "standby", "sim", "node", "raft", "kv", "region", "wal", "base", "config")
SUITE_LIMIT = 2400  # seconds
BIN = os.path.join(ROOT, "build", "release", "bin")


def cpp_suites():
    """One suite for each folder of tests/ that holds a leeward_test()."""
    names = []
    for name in sorted(os.listdir("tests")):
        path = os.path.join("tests", name, "CMakeLists.txt")
        if os.path.exists(path) and "leeward_test(" in open(path).read():
            names.append(name)
    return names


def script_suites():
    """One suite for each executable tests/<name>/run."""
    return [n for n in sorted(os.listdir("tests")) if os.access(os.path.join("tests", n, "run"), os.X_OK)]


def closing_counts(text):
    """(passed, failed) of a suite's own closing line, or None."""
    gtest = re.search(r"\[==========\] (\d+) tests? from .* ran", text)
    if gtest:
        passed = re.search(r"\[  PASSED  \] (\d+) tests?", text)
        failed = re.search(r"\[  FAILED  \] (\d+) tests?, listed below", text)
        skipped = re.search(r"\[  SKIPPED \] (\d+) tests?", text)
        return (int(passed.group(1)) if passed else 0,
                (int(failed.group(1)) if failed else 0) + (int(skipped.group(1)) if skipped else 0))
    plain = re.findall(r"^(?:\w+: )?(\d+) passed, (\d+) failed", text, re.M)
    if plain:
        return int(plain[-1][0]), int(plain[-1][1])
    return None


def run(name, command):
    started = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=SUITE_LIMIT)
        text, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        text, code = (late.stdout or b"").decode(errors="replace") + f"\nsuite ran longer than {SUITE_LIMIT} s\n", 1
    except OSError as error:
        text, code = f"{error}\n", 1
    counts = closing_counts(text)
    if counts is None or counts == (0, 0):
        counts = (0, 1)
        text += "\nthe suite ran no test\n"
    passed, failed = counts
    if code != 0 and failed == 0:
        failed = 1  # died after its last test
    line = f"{name:<14} {passed:>5} passed {failed:>3} failed  {time.monotonic() - started:7.1f} s"
    print(f"{text}\n{line}" if failed else line, flush=True)  # one print: another suite may end meanwhile
    return passed, failed


def main():
    cpp, scripts = cpp_suites(), script_suites()
    if sys.argv[1:] == ["--list"]:
        print("\n".join(sorted(cpp + scripts)))
        return 0
    wanted = sys.argv[1:] or sorted(cpp + scripts)
    unknown = [n for n in wanted if n not in cpp + scripts]
    if unknown:
        print(f"scripts/test: no suite named {', '.join(unknown)}; scripts/test --list names them", file=sys.stderr)
        return 2
    started = time.monotonic()
    built = subprocess.run(["scripts/build", "release"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    print(f"{'build':<14} {'done' if built.returncode == 0 else 'FAILED':>12} {time.monotonic() - started:18.1f} s",
          flush=True)
    if built.returncode != 0:
        print(built.stdout[-8000:])

    again = []  # suites that were run once more, and why

    def lane(names, prefix, stalls=None):
        passed = failed = 0
        for name in names:
            if built.returncode != 0 and name in cpp:
                print(f"{name:<14}     0 passed   1 failed  (not built)", flush=True)
                failed += 1
                continue
            command = [os.path.join(BIN, name + "_test")] if name in cpp else [f"tests/{name}/run"]
            began = time.monotonic()
            p, f = run(name, prefix + command)
            if f and stalls and (why := stalls.since(began)):
                print(f"{name:<14} once more: the machine stood still meanwhile ({why})", flush=True)
                again.append(f"{name} ({f} failed at first; {why})")
                p, f = run(name, prefix + command)
            passed, failed = passed + p, failed + f
        return passed, failed

    with StallWatch("build") as stalls, concurrent.futures.ThreadPoolExecutor(2) as pool:
        beside = pool.submit(lane, [n for n in COMPUTE if n in wanted], ["nice", "-n", "19"])
        others = pool.submit(lane, [n for n in wanted if n not in COMPUTE], [], stalls)
        passed, failed = (sum(counts) for counts in zip(beside.result(), others.result()))
    if again:
        print("run once more after the machine stood still: " + "; ".join(again))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
