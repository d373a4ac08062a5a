"""Hosts with systemd and sshd, in namespaces of the test's own.

`enter()` runs the rest of the suite in a network, mount and process namespace. Whatever ends it, SIGKILL included, the
kernel ends every host, mount, bridge and address with it; files of the hosts are in memory and go too. Only cgroups stay
behind, empty: who started it removes them, or the next run does.

    region east 10.101.0.0/24      bridge lwd-east, .1 is the control host
    region west 10.102.0.0/24      bridge lwd-west, .1 is the control host too: it stands in both regions
"""
import ctypes
import glob
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys

from leeward.cluster import ROOT, Failure, wait_for
from leeward.venv import Missing

FOLDER = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(ROOT, "build", "deploy")
HERE = "/media/lab"  # within the namespaces only
INSIDE = "LEEWARD_LAB"  # set within the namespaces: the name of this run, which its cgroups bear
HIERARCHIES = [place for place in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
               if os.path.exists(os.path.join(place, "cgroup.procs"))]
REGIONS = {"east": "10.101.0", "west": "10.102.0"}
STRANGER = "10.102.0.200"  # an address that no inventory names

# Everything that a role installs, for hosts reach no mirror; and what the package of leeward depends on.
PACKAGES = ("systemd-sysv dbus openssh-server sudo ca-certificates iproute2 procps nftables python3 python3-apt "
            "python3-cryptography python3-cffi-backend "  # debootstrap does not follow the virtual package that the former needs
            "libboost-json1.81.0 libjemalloc2 libnghttp2-14 libprometheus-cpp-core1.0 libprotobuf32 librocksdb7.8 libssl3 "
            "libzstd1 haproxy python3-boto3 ").split()
# Of a host that an installer has just left: a user who may become root, and no network of systemd's own.
FINISH = """
set -e
useradd --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin
rm -f /etc/machine-id /var/lib/dbus/machine-id && touch /etc/machine-id
systemctl enable ssh.service
# As on a host that no role has installed it on: it stands there and does not run.
systemctl disable haproxy.service
# There are no devices of its own, no clock to set and no log-in at a screen.
systemctl mask systemd-udevd.service console-getty.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /etc/resolv.conf
"""


def tools():
    """Errors: Missing."""
    for tool, what in {"terraform": "Terraform 1.11 or later (developer.hashicorp.com/terraform/install)",
                       **{name: "it by scripts/deps" for name in ("debootstrap", "systemd-nspawn", "nft", "ssh", "etcdctl")}}.items():
        if not shutil.which(tool):
            raise Missing(f"{tool} is not on the PATH: install {what}")
    if os.geteuid() != 0:
        raise Missing("hosts with systemd need root: run this as root")


def recipe():
    return hashlib.sha256("\n".join((*PACKAGES, FINISH)).encode()).hexdigest()[:12]


def run(*command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)
    if done.returncode:
        raise Failure(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def base_tree():
    """The tree that all hosts share, made once for each recipe."""
    tree = os.path.join(BUILD, f"base-{recipe()}")
    if os.path.isdir(tree):
        return tree
    os.makedirs(BUILD, exist_ok=True)
    for old in glob.glob(os.path.join(BUILD, "base-*")):
        shutil.rmtree(old)
    made = tree.replace("base-", "new-")
    shutil.rmtree(made, ignore_errors=True)
    run("debootstrap", "--variant=minbase", "--include=" + ",".join(PACKAGES), "bookworm", made)
    run("chroot", made, "sh", "-c", FINISH)
    os.rename(made, tree)
    return tree


# Namespaces

def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def enter():
    """Returns inside of the namespaces; outside it waits for the end, sweeps and exits."""
    if INSIDE in os.environ:
        return prepare()
    sweep()
    name = f"lwd-{os.getpid()}"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
    child = subprocess.Popen(command, env={**os.environ, INSIDE: name}, preexec_fn=die_with_parent)
    for signalled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signalled, lambda *_: child.kill())
    code = child.wait()
    sweep(name)
    left = left_behind(name)
    for line in left:
        print(f"left behind: {line}")
    sys.exit(code if code >= 0 and not left else 1)


def left_behind(name):
    """What of the run is still to be seen from outside."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        found = [f"mount {line.split()[1]}" for line in file if HERE in line]
    found += [f"interface {link}" for link in os.listdir("/sys/class/net") if link.startswith("lwd-")]
    found += [f"cgroup {place}/{name}" for place in HIERARCHIES if os.path.exists(os.path.join(place, name))]
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                if f"{INSIDE}={name}".encode() in file.read().split(b"\0"):
                    found.append(f"process {path.split('/')[2]}")
        except OSError:
            pass  # it has ended meanwhile
    return found


def sweep(name=None):
    """Removes the cgroups of the run `name`, or of all whose process is gone."""
    for place in HIERARCHIES:
        for found in glob.glob(os.path.join(place, name or "lwd-*")):
            if name or not os.path.exists(f"/proc/{found.rsplit('-', 1)[1]}"):
                wait_for(f"the cgroups below {found} to be empty", lambda f=found: remove_cgroups(f), 20)


def remove_cgroups(top):
    for folder, _, _ in os.walk(top, topdown=False):
        os.rmdir(folder)  # OSError while something in it ends still
    return True


def prepare():
    """The network of both regions, the control host's foot in each, and room for the hosts."""
    run("mount", "-t", "tmpfs", "-o", "mode=755", "lab", os.path.dirname(HERE))
    os.mkdir(HERE)
    run("ip", "link", "set", "lo", "up")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for region, block in REGIONS.items():
        run("ip", "link", "add", f"lwd-{region}", "type", "bridge")
        run("ip", "address", "add", f"{block}.1/24", "dev", f"lwd-{region}")
        run("ip", "link", "set", f"lwd-{region}", "up")
    run("ip", "address", "add", f"{STRANGER}/24", "dev", "lwd-west")


class Host:
    """One machine: an overlay over the base tree, booted by nspawn."""

    def __init__(self, name, address):
        self.name, self.address, self.process = name, address, None
        self.dir = os.path.join(HERE, name)
        self.groups = [os.path.join(place, os.environ[INSIDE], name) for place in HIERARCHIES]
        self.root = os.path.join(self.dir, "root")
        self.bridge = next(f"lwd-{region}" for region, block in REGIONS.items() if address.startswith(block))

    def create(self, base, key):
        for part in ("upper", "work", "root"):
            os.makedirs(os.path.join(self.dir, part))
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={base},upperdir={self.dir}/upper,workdir={self.dir}/work", self.root)
        gateway = self.address.rsplit(".", 1)[0] + ".1"
        self.write("etc/hostname", self.name + "\n")
        self.write("etc/hosts", f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        self.write("etc/systemd/network/10-lab.network",
                   f"[Match]\nName=host0\n[Network]\nAddress={self.address}/24\nGateway={gateway}\n")
        self.write("home/admin/.ssh/authorized_keys", key)
        run("systemctl", f"--root={self.root}", "-q", "enable", "systemd-networkd.service")

    def reinstall(self, base, key):
        """What is off, as an installer leaves it: nothing of what stood on its disks is left."""
        run("umount", self.root)
        shutil.rmtree(self.dir)
        self.create(base, key)

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def start(self):
        """Boots it; a reboot asked for inside ends nspawn with 133, and it is booted again."""
        for group in self.groups:
            os.makedirs(group, exist_ok=True)
        # Each in cgroups of its own: in one tree, stopping a service in one host reaches for those of the others.
        enter_groups = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in self.groups)
        boot = (f"systemd-nspawn --quiet --boot --register=no --keep-unit --directory={self.root} --machine={self.name} "
                f"--network-bridge={self.bridge} --console=pipe --resolv-conf=off")
        with open(os.path.join(self.dir, "console"), "ab") as console:
            self.process = subprocess.Popen(["bash", "-c", f"{enter_groups}; while {boot}; [ $? = 133 ]; do :; done"],
                                            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)
        return self

    def answers(self):
        with socket.create_connection((self.address, 22), timeout=2) as session:
            return session.recv(4) == b"SSH-"

    def power_off(self):
        """As when the plug is pulled: nothing is flushed, nothing said."""
        def gone():
            alive = self.processes()
            for process in alive:
                os.kill(process, signal.SIGKILL)
            return not alive
        wait_for(f"{self.name} to be off", gone)
        self.process.wait()

    def processes(self):
        found = []
        for folder, _, _ in os.walk(self.groups[0]):
            with open(os.path.join(folder, "cgroup.procs"), encoding="utf-8") as file:
                found += [int(line) for line in file]
        return found

    def console(self):
        with open(os.path.join(self.dir, "console"), encoding="utf-8", errors="replace") as file:
            return file.read()


class Lab:
    """Hosts by name, up and answering by ssh, and a key that opens them."""

    def __init__(self, addresses):
        self.key, self.known = os.path.join(HERE, "id"), os.path.join(HERE, "known_hosts")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        self.base = base_tree()
        with open(self.key + ".pub", encoding="utf-8") as file:
            self.public = file.read()
        self.hosts = {}
        for name, address in addresses.items():
            self.add(name, address)

    def add(self, name, address):
        """One more host, which is not started."""
        host = self.hosts[name] = Host(name, address)
        host.create(self.base, self.public)
        with open(os.path.join(self.base, "etc/ssh/ssh_host_ed25519_key.pub"), encoding="utf-8") as file:
            identity = " ".join(file.read().split()[:2])
        with open(self.known, "a", encoding="utf-8") as file:
            file.write(f"{address} {identity}\n")
        return host

    def reinstall(self, name):
        host = self.hosts[name]
        host.reinstall(self.base, self.public)
        return host

    def start(self):
        for host in self.hosts.values():
            host.start()
        self.wait()
        return self

    def wait(self):
        """For all that were started."""
        for host in self.hosts.values():
            if not host.process or host.process.poll() is not None:
                continue
            try:
                wait_for(f"{host.name} to answer by ssh", host.answers, 60, every=0.2)
            except Failure as late:
                raise Failure(f"{late}\n{host.console()[-3000:]}") from None
