"""A Debian of its own that a real systemd runs: what a package does to a host happens there.

One tree of Debian's smallest base and of what the package depends on is made once and kept under build/; each machine
is an overlay over it, mounted where only its own processes see it, and shares the network of the tests.
"""
import glob
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile

from leeward.claims import expect
from leeward.cluster import PATIENCE, ROOT, Failure, wait_for

KEPT = os.path.join(ROOT, "build", "packaging")
HIERARCHIES = [path for path in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified") if os.path.isdir(path)] or ["/sys/fs/cgroup"]

# In the first process of the machine's mount namespace: a control group of its own, for systemd stops by control group.
BOOT = """set -e
for hierarchy in $HIERARCHIES; do mkdir -p $hierarchy/$NAME; echo $$ >$hierarchy/$NAME/cgroup.procs; done
mount -t overlay overlay -o lowerdir=$BASE,upperdir=$PLACE/upper,workdir=$PLACE/work $PLACE/root
exec systemd-nspawn --quiet --register=no --keep-unit --boot --directory=$PLACE/root --machine=$NAME --console=pipe
"""


def first_choices(dependencies):
    """Of "a (>= 1) | b, c": a, c."""
    return [choice.split("|")[0].split("(")[0].strip() for choice in dependencies.split(",")]


def archive():
    """Where this machine gets its own packages, and of which release."""
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages", "Component: main"],
                          capture_output=True, text=True, check=True)
    expect(done.stdout.strip(), "apt knows no archive; run apt-get update")
    return done.stdout.splitlines()[0].split()


def base(dependencies):
    """The tree without the package. Made by the first run, which takes a minute, and when the dependencies change."""
    include = ",".join(sorted({"systemd", *first_choices(dependencies)}))
    path = os.path.join(KEPT, "base-" + hashlib.sha256(include.encode()).hexdigest()[:12])
    if not os.path.isdir(path):
        os.makedirs(KEPT, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="new-", dir=KEPT) as new:
            uri, release = archive()
            done = subprocess.run(["unshare", "--mount", "--propagation", "private",  # what it mounts goes with it
                                   "debootstrap", "--variant=minbase", f"--include={include}", release, os.path.join(new, "tree"), uri],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200, check=False)
            expect(done.returncode == 0, f"debootstrap: {done.stdout[-1500:]}")
            for older in glob.glob(os.path.join(KEPT, "base-*")):
                shutil.rmtree(older)
            os.rename(os.path.join(new, "tree"), path)
    return path


def remove_group(path):
    """A control group with all below it, once nothing runs there."""
    for folder, _, _ in os.walk(path, topdown=False):
        os.rmdir(folder)
    return not os.path.exists(path)


class Machine:
    """Use as a context manager: powers it off and removes its files."""

    def __init__(self, dependencies):
        self.base = base(dependencies)

    def __enter__(self):
        self.place = tempfile.mkdtemp(prefix="leeward-machine-")
        self.name = f"leeward-{os.getpid()}"
        for folder in ("upper", "work", "root"):
            os.mkdir(os.path.join(self.place, folder))
        self.console = open(os.path.join(self.place, "console"), "w+b")
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM",  # it ends with the run, however that ends
             "unshare", "--mount", "--propagation", "private", "bash", "-c", BOOT], stdin=subprocess.DEVNULL, stdout=self.console,
            stderr=self.console, start_new_session=True,
            env={**os.environ, "HIERARCHIES": " ".join(HIERARCHIES), "NAME": self.name, "BASE": self.base, "PLACE": self.place})
        try:
            self.leader = wait_for("the machine's first process", self.find_leader)
            wait_for("the machine to be up", lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"), 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # as a power button
            try:
                self.process.wait(timeout=PATIENCE * 60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.console.close()
        for hierarchy in HIERARCHIES:
            wait_for("the machine's last process", lambda path=os.path.join(hierarchy, self.name): remove_group(path))
        shutil.rmtree(self.place)

    def find_leader(self):
        if self.process.poll() is not None:
            self.console.seek(0)
            raise SystemError(f"the machine did not start: {self.console.read().decode(errors='replace')[-800:]}")
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as children:
            for pid in children.read().split():
                with open(f"/proc/{pid}/comm", encoding="utf-8") as name:
                    if name.read().strip() == "systemd":
                        return pid
        return None

    def run(self, *command, check=True, timeout=60):
        """Runs it on the machine as root."""
        done = subprocess.run(["nsenter", "-t", self.leader, "--all", "--wdns=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                               "DEBIAN_FRONTEND=noninteractive", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=PATIENCE * timeout, check=False)
        if check and done.returncode != 0:
            raise Failure(f"{' '.join(command)}: exit {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done

    def path(self, path):
        """A file of the machine, seen from outside."""
        return f"/proc/{self.leader}/root{path}"

    def read(self, path):
        with open(self.path(path), encoding="utf-8") as file:
            return file.read()

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as file:
            file.write(text)

    def copy(self, source, path):
        shutil.copyfile(source, self.path(path))
        return path

    def there(self, path):
        return os.path.exists(self.path(path))

    def shows(self, *properties, unit="leeward.service"):
        """What systemd says of the unit."""
        lines = self.run("systemctl", "show", unit, *(f"--property={name}" for name in properties)).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)
