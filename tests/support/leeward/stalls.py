"""Sees when the machine itself stands still: what a test then measured says nothing about what it tests."""
import os
import tempfile
import threading
import time

TICK = 0.1
# Half of an election timeout: beyond it idle groups elect.
LONG = 0.5
# Of both processors' time, taken by other guests of the same host in LOOK seconds.
STOLEN = 0.25
LOOK = 5.0


def _steal():
    """(stolen, all) ticks of all processors since the start of the machine."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(t) for t in stat.readline().split()[1:9]]
    return ticks[7], sum(ticks)


class StallWatch:
    """Two threads from `with` to its end: one that sleeps, one that syncs a small file in `directory`."""

    def __init__(self, directory):
        self.seen = []  # (when by time.monotonic(), what, how much)
        self._directory = directory
        self._over = threading.Event()
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._processors, self._disk)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def since(self, moment):
        """What was seen from then on, as words; "" when nothing was."""
        seen = [(what, much) for when, what, much in self.seen if when >= moment]
        worst = {what: max(m for w, m in seen if w == what) for what, _ in seen}
        words = {"processors": "no processor for {:.1f} s", "disk": "a sync of 4 KiB took {:.1f} s",
                 "stolen": "{:.0%} of the processors went to other guests"}
        return ", ".join(words[what].format(much) for what, much in sorted(worst.items()))

    def _note(self, what, much):
        self.seen.append((time.monotonic(), what, much))

    def _processors(self):
        before, looked, ticks = time.monotonic(), time.monotonic(), _steal()
        while not self._over.wait(TICK):
            now = time.monotonic()
            if now - before - TICK > LONG:
                self._note("processors", now - before - TICK)
            before = now
            if now - looked < LOOK:
                continue
            stolen, of = (b - a for a, b in zip(ticks, _steal()))
            if of and stolen / of > STOLEN:
                self._note("stolen", stolen / of)
            looked, ticks = now, _steal()

    def _disk(self):
        with tempfile.TemporaryFile(dir=self._directory) as file:
            while not self._over.wait(10 * TICK):
                started = time.monotonic()
                os.pwrite(file.fileno(), os.urandom(4096), 0)
                os.fsync(file.fileno())
                if (took := time.monotonic() - started) > LONG:
                    self._note("disk", took)
