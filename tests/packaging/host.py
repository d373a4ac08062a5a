"""What all tests of a host share: one machine, and a member on it as its operator would set it up."""
import os

from leeward.claims import equal
from leeward.cluster import Cluster, wait_for
from machine import Machine
import package

CONFIGURATION = "/etc/leeward/leeward.toml"
EXAMPLES = "/usr/share/doc/leeward/examples"
DROP_IN = "/etc/systemd/system/leeward.service.d/test.conf"
DATA = ("/var/lib/leeward", "/var/lib/leeward-wal")
SHARED = {}


def machine():
    """Booted once, for all tests."""
    if "machine" not in SHARED:
        made = Machine(package.field("Depends"))
        SHARED["machine"] = made.__enter__()
    return SHARED["machine"]


def power_off():
    if "nodes" in SHARED:
        SHARED["nodes"].__exit__(None, None, None)
    if "machine" in SHARED:
        SHARED["machine"].__exit__()


def dpkg(*arguments):
    """What it prints."""
    done = machine().run("dpkg", *arguments, timeout=120)
    return done.stdout + done.stderr


def install(path=None):
    m = machine()
    return dpkg("--install", m.copy(path or package.built(), "/root/leeward.deb"))


def fresh():
    """The machine without a trace of the package."""
    m = machine()
    m.run("dpkg", "--purge", "leeward", check=False)
    m.run("rm", "-rf", *DATA, "/etc/leeward", os.path.dirname(DROP_IN))
    m.run("systemctl", "daemon-reload")
    m.run("systemctl", "reset-failed")
    return m


def node():
    """The member's ports; the tests and the machine share their addresses."""
    if "nodes" not in SHARED:
        SHARED["nodes"] = Cluster(active=1)
    return SHARED["nodes"].active[0]


def configure():
    """The example for development, on addresses of its own and with the log where production has it."""
    m, host = machine(), node().host
    text = m.read(f"{EXAMPLES}/development.toml").replace("127.0.0.1", host).replace("[node]\n", f'[node]\nwal_dir = "{DATA[1]}"\n')
    listen = "".join(f'{name} = "{host}:{port}"\n' for name, port in (("client", 2379), ("peer", 2380), ("admin", 8080), ("metrics", 9090)))
    m.write(CONFIGURATION, f"{text}\n[listen]\n{listen}")


def serving():
    """The member, started and ready."""
    machine().run("systemctl", "start", "leeward")
    wait_for("the member to be ready", lambda: node().ok("/readyz"), 30)
    return node()


def member():
    """Installed, configured, started: the machine and the member."""
    m = fresh()
    install()
    configure()
    return m, serving()


def drop_in(text):
    m = machine()
    m.write(DROP_IN, text)
    m.run("systemctl", "daemon-reload")


def pid():
    return int(machine().shows("MainPID")["MainPID"])


def failed_start(code):
    """A start that ends with this exit code, and with no other start after it."""
    m = machine()
    equal(m.run("systemctl", "start", "leeward", check=False).returncode, 1, "systemctl start")
    equal(m.shows("ActiveState", "SubState", "NRestarts", "ExecMainStatus"),  # a unit that waits for its restart is "activating"
          {"ActiveState": "failed", "SubState": "failed", "NRestarts": "0", "ExecMainStatus": str(code)})
    return m.run("journalctl", "--unit=leeward", "--output=cat", "--lines=20").stdout
