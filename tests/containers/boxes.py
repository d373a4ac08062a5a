"""Containers without an engine: a root file system as the Dockerfile's last stage describes it, and processes that see only
that one, read-only, with a network of their own, as its user and with no privilege to gain.

`enter()` runs the rest of the suite in namespaces of its own: whatever ends it, the kernel ends processes, mounts and network.
"""
import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

from leeward.cluster import BIN, ROOT, Failure

DOCKERFILE = os.path.join(ROOT, "packaging", "container", "Dockerfile")
INSIDE = "LEEWARD_BOXES"
PROGRAMS = ("leewardd", "leewardctl")


def enter():
    if INSIDE in os.environ:
        return
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
    child = subprocess.Popen(command, env={**os.environ, INSIDE: "1"}, preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))
    for signalled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signalled, lambda *_: child.kill())
    code = child.wait()
    sys.exit(code if code >= 0 else 1)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


# The image

class Image:
    """What the Dockerfile says of its last stage."""

    def __init__(self):
        with open(DOCKERFILE, encoding="utf-8") as file:
            lines = re.sub(r"\\\n", " ", "\n".join(line for line in file.read().splitlines() if not line.startswith("#"))).splitlines()
        words = [shlex.split(line) for line in lines if line.strip()]
        stages = [n for n, line in enumerate(words) if line[0] == "FROM"]
        self.bases = [words[n][1] for n in stages]
        last = words[stages[-1]:]
        commands = " ".join(" ".join(line[1:]) for line in last if line[0] == "RUN")
        self.packages = re.search(r"--no-install-recommends ([^&]+)", commands).group(1).split()
        mode, self.folders = re.search(r"install -d -m (\d+) -o leeward -g leeward ([^&]+)", commands).groups()
        self.mode, self.folders = int(mode, 8), self.folders.split()
        self.environment = dict(pair.split("=", 1) for line in last if line[0] == "ENV" for pair in line[1:])
        self.user = next(line[1] for line in last if line[0] == "USER")
        self.health = next(line[line.index("CMD") + 1:] for line in last if line[0] == "HEALTHCHECK")
        self.entry, self.command, self.health = (
            [word.strip("[],") for word in line if word.strip("[],")]
            for line in (*[next(line[1:] for line in last if line[0] == kind) for kind in ("ENTRYPOINT", "CMD")], self.health))
        self.instructions = {line[0] for line in last}


def depends(packages):
    """Of those packages and all that they depend on, those that this machine has."""
    found, waiting = set(), list(packages)
    while waiting:
        batch, waiting = [name for name in waiting if name not in found], []
        if not batch:
            break
        found.update(batch)
        shown = subprocess.run(["dpkg-query", "-W", "-f=${Pre-Depends}, ${Depends}\\n", *batch], capture_output=True, text=True, check=False).stdout
        for name in re.split(r"[,|\n]", shown):
            if name := re.sub(r"\(.*?\)|:any", "", name).strip():
                waiting.append(name)
    return {line.split()[0].split(":")[0] for line in
            subprocess.run(["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\\n", *sorted(found)], capture_output=True, text=True,
                           check=False).stdout.splitlines() if line.endswith(" installed")}


def libraries(program):
    """{library: its file} of all that the loader looks for."""
    return dict(re.findall(r"^\s*(\S+) => (\S+)", run("ldd", program), re.M))


def owners(paths):
    """{file: the package that it came with}. It may be known there by the path before /usr was merged."""
    known = {name: path for path in paths for name in (os.path.realpath(path), os.path.realpath(path).removeprefix("/usr"))}
    shown = subprocess.run(["dpkg", "-S", *known], capture_output=True, text=True, check=False).stdout
    found = {known[line.rsplit(": ", 1)[1]]: line.split(":")[0] for line in shown.splitlines()}
    if set(paths) - set(found):
        raise Failure(f"no package has {set(paths) - set(found)}")
    return found


class Root:
    """The image's file system, of the files of packages that are installed here and no others."""

    def __init__(self, place):
        self.place, self.image = place, Image()
        for folder in ("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "etc", "proc", "dev", "tmp", "run"):
            os.makedirs(os.path.join(place, folder))
        for name in ("bin", "lib", "lib64", "sbin"):
            os.symlink(f"usr/{name}", os.path.join(place, name))
        for package in depends(self.image.packages) - {"perl-base"}:
            for path in run("dpkg", "-L", package).splitlines():
                if re.search(r"/lib(64)?/(.*/)?[^/]+\.so[.\d]*$", path) or path.startswith("/etc/ssl/certs/"):
                    self.copy(path)
        for program in PROGRAMS:
            run("strip", "--strip-unneeded", "-o", os.path.join(place, "usr/bin", program), os.path.join(BIN, program))
        self.uid, self.gid = map(int, self.image.user.split(":"))
        for folder in self.image.folders:
            os.makedirs(place + folder, self.image.mode, exist_ok=True)
            os.chown(place + folder, self.uid, self.gid)
        for path in ("etc/hosts", "etc/resolv.conf"):
            open(os.path.join(place, path), "w", encoding="utf-8").close()

    def copy(self, path):
        if os.path.isdir(path) or not os.path.exists(path):
            return
        target = self.place + path
        os.makedirs(os.path.realpath(os.path.dirname(target)), exist_ok=True)
        shutil.copy2(path, target)


# The network, and who is on it

class Network:
    """A bridge; each container has an address on it. Some names are known to all, others only where they belong (`zone`)."""

    def __init__(self, directory):
        self.directory, self.known, self.taken = directory, {}, 1  # zone, name: address; zone None: everywhere
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "boxes", "type", "bridge")
        run("ip", "link", "set", "boxes", "up")
        run("ip", "addr", "add", "10.88.0.1/16", "dev", "boxes")

    def hosts(self, zone):
        return os.path.join(self.directory, f"hosts-{zone}")

    def name(self, zone, everywhere, here):
        self.taken += 1
        address = f"10.88.0.{self.taken}"
        self.known.update({(None, name): address for name in everywhere} | {(zone, name): address for name in here})
        # In place, for it is mounted.
        for place in {zone} | {of for of, _ in self.known if of}:
            with open(self.hosts(place), "w", encoding="utf-8") as file:
                file.write("127.0.0.1 localhost\n" + "".join(f"{a} {name}\n" for (of, name), a in self.known.items() if of in (None, place)))
        return address


JOIN = """
set -e
read -r _
ip link set lo up
ip addr add "$ADDRESS/16" dev eth0
ip link set eth0 up
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount --rbind /dev "$ROOT/dev"
mount --bind /proc "$ROOT/proc"
mount --bind "$HOSTS" "$ROOT/etc/hosts"
for pair in $MOUNTS; do mount --bind "${pair%%=*}" "$ROOT${pair#*=}"; done
for path in $READ_ONLY /; do mount -o remount,bind,ro "$ROOT$path"; done
exec setpriv --no-new-privs chroot --userspec="$USERSPEC" "$ROOT" "$@"
"""


class Box:
    """One container: arguments and environment as they were written for it, mounts {path within: (folder, read-only)}."""

    def __init__(self, root, network, name, arguments, environment, mounts, everywhere=(), here=(), zone="all"):
        self.root, self.network, self.name, self.mounts = root, network, name, mounts
        self.arguments = [*root.image.entry, *arguments]
        self.environment = {**root.image.environment, **environment}
        self.address, self.process, self.hosts = network.name(zone, everywhere, here), None, network.hosts(zone)
        self.log = os.path.join(network.directory, f"{name}.log")
        for within in mounts:  # as engines do
            os.makedirs(root.place + within, exist_ok=True)

    def start(self):
        mounts = " ".join(f"{place}={within}" for within, (place, _) in self.mounts.items())
        about = {"ADDRESS": self.address, "ROOT": self.root.place, "HOSTS": self.hosts, "MOUNTS": mounts,
                 "READ_ONLY": " ".join(within for within, (_, fixed) in self.mounts.items() if fixed),
                 "USERSPEC": f"{self.root.uid}:{self.root.gid}", "PATH": os.environ["PATH"]}
        link = f"box{self.address.rsplit('.', 1)[1]}"
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["unshare", "--net", "--mount", "bash", "-c", JOIN, "bash", *self.arguments], stdin=subprocess.PIPE,
                                            stdout=log, stderr=log, env={**about, **self.environment})
        # Once it is in a network of its own, which is not when it was forked.
        here = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{self.process.pid}/ns/net").st_ino == here:
            if self.process.poll() is not None:
                raise Failure(f"{self.name} did not begin: {self.text()}")
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(self.process.pid))
        run("ip", "link", "set", link, "up", "master", "boxes")
        self.process.stdin.write(b"\n")
        self.process.stdin.close()
        return self

    def inside(self, *command, timeout=60):
        """As `docker exec` and `kubectl exec` would: in its namespaces, as its user, with its environment."""
        return subprocess.run(["nsenter", f"--target={self.process.pid}", "--net", "--mount", "--root", "--wd=/", f"--setuid={self.root.uid}",
                               f"--setgid={self.root.gid}", "/usr/bin/" + command[0], *command[1:]], env=self.environment, capture_output=True,
                              text=True, timeout=timeout, check=False)

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=60) if self.process else None


def check(toml, environment):
    """What the daemon says of a configuration with that environment, as `docker run` would give it one: exit code, words."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as file:
        file.write(toml)
        file.flush()
        done = subprocess.run([os.path.join(BIN, "leewardd"), "--config", file.name, "--check-config"], env={**environment, "PATH": os.environ["PATH"]},
                              capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, (done.stdout + done.stderr).replace(file.name, "leeward.toml")
