"""The load: a client by etcd's own library that writes and watches while something is done to the regions."""
import json
import os
import signal
import subprocess
import time

from leeward.claims import equal, expect
from leeward.cluster import ROOT, Failure
from leeward.venv import Missing
import control
import lab

BINARY = os.path.join(lab.BUILD, "load")
CERTIFICATES = ("root.pem", "app.pem", "app.key")
A_FEW = 3
PATIENCE = 60  # for its last words


def build():
    """Outside of the lab, for in it there is no index of modules. Errors: Missing."""
    if lab.INSIDE in os.environ:
        return
    os.makedirs(lab.BUILD, exist_ok=True)
    try:
        lab.run(os.path.join(ROOT, "scripts", "go"), "build", "-o", BINARY, ".", cwd=os.path.join(lab.FOLDER, "load"))
    except Failure as failure:
        raise Missing(f"the load's client cannot be built; Go and an index of its modules are needed: {failure}") from None


class Load:
    """Writes at both regions' endpoints, or at the one address `through`, from `with` on; afterwards `told` is what its client saw."""

    def __init__(self, what, through=None):
        self.what, self.told, self.through = what, {}, through
        self.counter = f"load/through-{through}" if through else "load/counter"

    def __enter__(self):
        where = f"https://{self.through}" if self.through else f"{control.endpoints('east')},{control.endpoints('west')}"
        words = [where, *(f"{control.PKI}/{file}" for file in CERTIFICATES), self.counter]
        with open(os.path.join(lab.HERE, "load.log"), "ab") as log:  # the library tells each attempt
            self.process = subprocess.Popen([BINARY, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                                            preexec_fn=lab.die_with_parent)
        if self.process.stdout.readline() != "ready\n":
            raise Failure(f"the load did not begin: it ended with {self.process.wait(PATIENCE)}")
        self.started = time.monotonic()
        return self

    def __exit__(self, kind, *_):
        seconds = time.monotonic() - self.started
        self.process.send_signal(signal.SIGTERM)
        try:
            said, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.told = json.loads(said)
        print(f"   {self.what}: {len(self.errors)} errors in {self.told['puts']} writes, longest pause {self.pause} ms, "
              f"{seconds:.0f} s", flush=True)

    def connections(self):
        """Those of its client, by their own ports."""
        lines = lab.run("ss", "-Htnp", "state", "established").splitlines()
        return sorted(line.split()[2] for line in lines if f"pid={self.process.pid}," in line)

    errors = property(lambda self: self.told["errors"] or [])
    faults = property(lambda self: self.told["watch_faults"] or [])
    pause = property(lambda self: self.told["longest_pause_ms"])

    def lost_nothing(self, pause, faults):
        """Every acknowledged write came to the watch, in its order; so may have those that ended in an error, of which there are
        `faults` at most."""
        equal(self.faults[:3], [], f"faults of the watch during {self.what}")
        expect(len(self.errors) <= faults, f"{len(self.errors)} errors of the client during {self.what}: {self.errors[:3]}")
        expect(0 <= self.told["watched"] - self.told["puts"] <= len(self.errors),
               f"{self.told['watched']} events of {self.told['puts']} acknowledged writes during {self.what}")
        expect(self.pause < pause, f"during {self.what} a write came {self.pause} ms after the one before")

    def lost_and_was_refused_nothing(self, pause, but=None):
        """Every write was answered, none later than `pause` ms after the one before, and the watch told each in its order. `but`:
        an error of a write that was not applied, which a few may have met."""
        equal([error for error in self.errors if error != but][:3], [], f"errors of the client during {self.what}")
        expect(len(self.errors) <= A_FEW, f"{len(self.errors)} times {but!r} during {self.what}")
        equal(self.faults[:3], [], f"faults of the watch during {self.what}")
        equal(self.told["watched"], self.told["puts"], f"events of acknowledged writes during {self.what}")
        expect(self.pause < pause, f"during {self.what} a write came {self.pause} ms after the one before")
