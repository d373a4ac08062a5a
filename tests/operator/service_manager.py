"""What is sent to a real NOTIFY_SOCKET, and when."""
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time

from leeward.claims import equal, expect
from leeward.cluster import Cluster, wait_for
from common import code, page
from signals import taken

HERE = os.path.dirname(os.path.abspath(__file__))


class Manager:
    """The service manager's end of the socket: each line that came, and when."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.heard = []

    def until(self, word, count=1, timeout=90):
        """Receives until `count` lines begin with `word`; returns the times of those."""
        end = time.monotonic() + timeout
        while len(found := [at for at, line in self.heard if line.startswith(word)]) < count:
            left = end - time.monotonic()
            expect(left > 0, f"after {timeout} s still waiting for {word} {count} times (heard: {self.lines()})")
            self.socket.settimeout(left)
            text = self.socket.recv(4096).decode()
            self.heard += [(time.monotonic(), line) for line in text.splitlines()]
        return found

    def forget(self):
        """All that was sent until now."""
        self.heard.clear()
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(4096)

    def lines(self):
        return [line for _, line in self.heard]


@contextlib.contextmanager
def manager():
    with tempfile.TemporaryDirectory(prefix="leeward-notify-") as directory:
        made = Manager(directory)
        with made.socket:
            yield made


def the_service_manager_is_told_in_order_and_before_there_is_a_leader():
    with manager() as m, Cluster(active=3, environment={"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "4000000"}) as c:
        node = c.active[0].start()  # alone: no leader
        m.until("READY=1")
        expect(node.get("/livez", timeout=30)[0] == 200 and code(node, "/readyz") == 503, "READY=1 comes when listeners answer, leader or not")
        m.until("WATCHDOG=1")
        m.until("STATUS=")
        node.process.send_signal(signal.SIGHUP)
        m.until("RELOADING=1")
        m.until("MONOTONIC_USEC=")
        del m.heard[:m.lines().index("RELOADING=1")]
        m.until("READY=1")
        node.process.send_signal(signal.SIGTERM)
        m.until("STOPPING=1")
        equal(node.process.wait(timeout=90), 0, "exit code")
        seen = m.lines()
        expect(seen.index("RELOADING=1") < seen.index("READY=1") < seen.index("STOPPING=1"), str(seen))


class SlowDisk:
    """A shim under which a node's disk hangs while hold() is in force."""

    def __init__(self, directory):
        self.shim, self.held = os.path.join(directory, "hold_disk.so"), os.path.join(directory, "hold")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", self.shim, os.path.join(HERE, "hold_disk.c"), "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": self.shim, "OPERATOR_TEST_HOLD": self.held}

    def hold(self):
        open(self.held, "w", encoding="utf-8").close()

    def release(self):
        os.remove(self.held)


def a_start_that_takes_long_keeps_the_service_manager_patient_until_it_is_ready():
    with manager() as m, tempfile.TemporaryDirectory() as tools:
        disk = SlowDisk(tools)
        with Cluster(active=1, environment={"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "4000000", **disk.environment}) as c:
            node = c.start().wait_ready().active[0]
            node.put("a", "1")
            node.kill(signal.SIGKILL)
            m.forget()
            disk.hold()
            node.start()
            first, second = m.until("EXTEND_TIMEOUT_USEC=", count=2)
            promised = {int(line.split("=")[1]) / 1e6 for line in m.lines() if line.startswith("EXTEND_TIMEOUT_USEC=")}
            # Each one lasts for as long as it says from when it comes: one that is late by a scheduler's whim must do.
            expect(len(promised) == 1 and second - first < min(promised) / 2, f"{second - first:.1f} s between, {promised} s each")
            expect("STATUS=opening storage" in m.lines() and not {"READY=1", "WATCHDOG=1"} & set(m.lines()), str(m.lines()))
            disk.release()
            m.until("READY=1")
            equal(node.value("a"), "1")
            m.until("WATCHDOG=1", count=2)
            del m.heard[:m.lines().index("READY=1")]
            expect(not any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in m.lines()), f"after READY=1: {m.lines()}")


def a_start_on_a_disk_that_hangs_is_ended_by_the_first_signal_and_is_no_crash():
    with manager() as m, tempfile.TemporaryDirectory() as tools:
        disk = SlowDisk(tools)
        with Cluster(active=1, environment={"NOTIFY_SOCKET": m.path, **disk.environment}) as c:
            node = c.start().wait_ready().active[0]
            node.put("a", "1")
            for ends in (signal.SIGTERM, signal.SIGINT):
                equal(node.kill(signal.SIGTERM), 0)
                m.forget()
                disk.hold()
                node.start()
                m.until("STATUS=opening storage")
                begun = time.monotonic()
                node.process.send_signal(ends)
                equal(node.process.wait(timeout=60), 0, "exit code")
                expect(time.monotonic() - begun < 15, f"it took {time.monotonic() - begun:.1f} s")
                expect("stopped while starting" in node.log_text(), node.log_text()[-800:])
                disk.release()
                node.start()
                c.wait_ready()
                equal(node.value("a"), "1")
            equal(page(node)("abnormal_exits_total", reason="unknown"), 0, "ends that nobody asked for")


def a_stop_on_a_disk_that_hangs_ends_by_a_second_signal_or_within_its_limit():
    with manager() as m, tempfile.TemporaryDirectory() as tools:
        disk = SlowDisk(tools)
        with Cluster(active=1, environment={"NOTIFY_SOCKET": m.path, **disk.environment}) as c:
            node = c.start().wait_ready().active[0]
            node.put("a", "1")
            for signals, code_, limit in ((2, -signal.SIGTERM, 15), (1, 1, 45)):  # the limit is 30 s
                m.forget()
                disk.hold()
                begun = time.monotonic()
                node.process.send_signal(signal.SIGTERM)
                m.until("STOPPING=1")
                if signals == 2:
                    wait_for("the first one to be taken", lambda: taken(node))
                    node.process.send_signal(signal.SIGTERM)
                equal(node.process.wait(timeout=90), code_, "exit code")
                expect(time.monotonic() - begun < limit, f"it took {time.monotonic() - begun:.1f} s")
                disk.release()
                node.start()
                node.cluster.wait_ready()
                equal(node.value("a"), "1")
            expect("leaving as after a crash" in node.log_text(), node.log_text()[-800:])
