"""Runs test binaries of a sanitizer build and adds their results up."""
import os
import re
import shutil
import subprocess
import time

from .cluster import ROOT


def symbolizer():
    """Option for *SAN_OPTIONS: who names the lines in reports. binutils' addr2line is there where a compiler is."""
    found = shutil.which("llvm-symbolizer-16") or shutil.which("llvm-symbolizer") or shutil.which("addr2line")
    return f"external_symbolizer_path={found}"


def build(kind, targets, timeout=3000):
    """True when scripts/build made them; its last words are printed otherwise."""
    started = time.monotonic()
    done = subprocess.run(["scripts/build", kind, *targets], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
    print(f"build of {', '.join(targets)}: {time.monotonic() - started:.1f} s", flush=True)
    if done.returncode != 0:
        print(done.stdout[-6000:])
    return done.returncode == 0


def run(kind, name, environment, *arguments, timeout=2400):
    """(passed, failed) of build/<kind>/bin/<name>_test; a report or a death is a failure."""
    started = time.monotonic()
    binary = os.path.join(ROOT, "build", kind, "bin", name + "_test")
    try:
        done = subprocess.run([binary, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, check=False,
                              env={**os.environ, **environment})
        text, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        text, code = (late.stdout or b"").decode(errors="replace") + f"\nlonger than {timeout} s\n", 1
    passed = len(re.findall(r"^\[       OK \]", text, re.M))
    failed = len(re.findall(r"^\[  FAILED  \] .* \(\d+ ms\)$", text, re.M))
    if (code != 0 or passed == 0) and failed == 0:
        failed = 1
    if failed:
        print(text[-12000:])
    print(f"{kind} {name:<10} {passed:>4} passed {failed:>3} failed {time.monotonic() - started:6.1f} s", flush=True)
    return passed, failed
