"""Virtual environments under build/, with what Debian does not package."""
import os
import shutil
import subprocess
import sys

from .cluster import ROOT


class Missing(Exception):
    """Something that a suite needs and that scripts/deps cannot install."""


def python(name, packages):
    """The interpreter of a virtual environment under build/ with these packages from the package index."""
    place = os.path.join(ROOT, "build", f"venv-{name}")
    stamp, wanted = os.path.join(place, "packages"), "\n".join(packages)
    interpreter = os.path.join(place, "bin", "python3")
    if not os.path.exists(stamp) or open(stamp, encoding="utf-8").read() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        for command in ([sys.executable, "-m", "venv", place], [interpreter, "-m", "pip", "install", "-q", *packages]):
            done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode:
                raise Missing(f"{' '.join(packages)} cannot be installed into {place}; python3-venv and a Python package "
                              f"index are needed:\n{done.stdout[-1500:]}")
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(wanted)
    return interpreter


def within(name, packages):
    """Goes on as the same command in that environment; returns once it runs there."""
    interpreter = python(name, packages)
    if os.path.realpath(sys.prefix) != os.path.realpath(os.path.dirname(os.path.dirname(interpreter))):
        os.execv(interpreter, [interpreter, os.path.abspath(sys.argv[0]), *sys.argv[1:]])
