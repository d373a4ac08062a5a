"""The control host: Terraform's inventory, ansible-playbook, etcdctl and leewardctl, as an operator has them."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading

from leeward.claims import expect
from leeward.cluster import BIN, ROOT, Failure
from leeward import versions
import lab
import store

ANSIBLE = os.path.join(ROOT, "ansible")
TOOLS = os.path.join(sys.prefix, "bin")
BALANCER = "leeward-west-13"  # a member that fronts all of them too: a host less to boot
PKI = os.path.join(lab.HERE, "pki")


class Run:
    """What a playbook said and how it ended; `hosts`: of each host ok, changed, unreachable, failed, ..."""

    def __init__(self, code, text):
        self.code, self.text = code, text
        recap = text.rpartition("PLAY RECAP")[2]
        self.hosts = {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", counts)}
                      for host, counts in re.findall(r"^(\S+)\s+: (ok=.*)$", recap, re.M)}

    changed = property(lambda self: {host: counts["changed"] for host, counts in self.hosts.items() if counts["changed"]})

    def said(self, what):
        """Whether it said so, however it was wrapped."""
        return what in " ".join(self.text.split())


class Inventory:
    """The file that playbooks go by; tests exchange it when hosts come and go."""
    path = None


def inventory():
    """That of environments/local, by Terraform, unless a test goes by another one."""
    Inventory.path = Inventory.path or laid_out()
    return Inventory.path


@contextlib.contextmanager
def going_by(path):
    before, Inventory.path = inventory(), path
    try:
        yield
    finally:
        Inventory.path = before


def laid_out(east=3):
    """The inventory that Terraform lays out, of so many members in east."""
    tree, path = os.path.join(lab.HERE, "terraform"), os.path.join(lab.HERE, f"inventory-{east}.json")
    if os.path.exists(path):
        return path
    quiet = {**{k: v for k, v in os.environ.items() if not k.startswith("TF_")}, "TF_CLI_CONFIG_FILE": "/dev/null", "CHECKPOINT_DISABLE": "1"}
    folder = f"-chdir={tree}/environments/local"
    if not os.path.exists(tree):
        shutil.copytree(os.path.join(ROOT, "terraform"), tree, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*"))
        lab.run("terraform", folder, "init", "-no-color", env=quiet)
    blocks = [f'-var={role}={{region="{region}", cidr="{lab.REGIONS[region]}.0/24", members={members}, monitoring=false}}'
              for role, region, members in (("primary", "east", east), ("dr", "west", 3))]
    lab.run("terraform", folder, "apply", "-auto-approve", "-no-color", *blocks, env=quiet)
    known = json.loads(lab.run("terraform", folder, "output", "-no-color", "-json", "inventory", env=quiet))
    known["all"]["children"]["balancers"] = {"hosts": {BALANCER: None}, "vars": {"haproxy_stats_address": "*"}}
    known["all"]["vars"].update(store.SETTINGS)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(known, file)
    return path


def addresses():
    with open(inventory(), encoding="utf-8") as file:
        regions = json.load(file)["all"]["children"]["leeward"]["children"]
    return {name: host["ansible_host"] for region in regions.values() for name, host in region["hosts"].items()}


def environment():
    return {**os.environ, "HOME": os.path.join(lab.HERE, "home"), "ANSIBLE_CONFIG": os.path.join(ANSIBLE, "ansible.cfg"),
            "ANSIBLE_REMOTE_USER": "admin", "ANSIBLE_PRIVATE_KEY_FILE": os.path.join(lab.HERE, "id"),
            "ANSIBLE_SSH_COMMON_ARGS": f"-o UserKnownHostsFile={lab.HERE}/known_hosts", "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{TOOLS}:{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def command(*words, timeout=300, **more):
    return subprocess.run(words, cwd=ANSIBLE, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, **more)


def playbook(name, *words, code=0, inventory_file=None):
    """Runs playbooks/<name>.yaml; another exit code than `code` is a failure (0 done, 2 a task failed, 4 a host was not reached)."""
    done = command("ansible-playbook", "-i", inventory_file or inventory(), f"playbooks/{name}.yaml",
                   "-e", f"leeward_package={package()}", *words, timeout=900)
    expect(done.returncode == code, f"playbook {name} {' '.join(words)} ended with {done.returncode}, not {code}:\n{done.stdout[-6000:]}")
    return Run(done.returncode, done.stdout)


def interrupted(name, mark, action, *words):
    """Runs a playbook that is to stop, and `action` when it first says `mark`."""
    process = subprocess.Popen(["ansible-playbook", "-i", inventory(), f"playbooks/{name}.yaml", "-e", f"leeward_package={package()}", *words], cwd=ANSIBLE, env=environment(), text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    text, done = "", False
    for line in process.stdout:
        text += line
        if mark in line and not done:
            action()
            done = True
    watchdog.cancel()
    expect(done and process.wait() == 2, f"playbook {name} ended with {process.wait()}, not 2:\n{text[-6000:]}")
    return Run(2, text)


def package(version=None, formats_later=1):
    """The Debian package of the binaries under test, built once a run; or one of another version, which knows another newest format."""
    folder = os.path.join(lab.HERE, "packages", version or "own")
    if not os.path.isdir(folder):
        fast = {**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "gzip", "DPKG_DEB_COMPRESSOR_LEVEL": "1"}
        lab.run(os.path.join(ROOT, "packaging", "deb", "build"), "--bin", versions.another(os.path.join(lab.HERE, "programs", version), version, formats_later) if version else BIN, "--out", folder, env=fast)
    return os.path.join(folder, os.listdir(folder)[0])


def flags(who):
    return ["--cacert", f"{PKI}/root.pem", "--cert", f"{PKI}/{who}.pem", "--key", f"{PKI}/{who}.key"]


def endpoints(region):
    return ",".join(f"https://{address}:2379" for address in addresses().values() if address.startswith(lab.REGIONS[region]))


def etcdctl(region, *words):
    done = subprocess.run(["etcdctl", "--endpoints", endpoints(region), *flags("app"), *words], env={**environment(), "ETCDCTL_API": "3"},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Failure(f"etcdctl {' '.join(words)}: {done.stderr[-600:]}")
    return done.stdout


def ctl(region, *words):
    """leewardctl's answer as JSON, at that region's members, as the operator."""
    done = subprocess.run([os.path.join(BIN, "leewardctl"), "--endpoints", endpoints(region), *flags("ops"), "-o", "json", *words],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Failure(f"leewardctl {' '.join(words)}: {done.stderr[-600:]}")
    return json.loads(done.stdout)
