"""Six members as Compose and the chart describe them, run: see boxes.py for what stands in the place of an engine."""
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import ssl
import tempfile
import urllib.error
import urllib.request

import boxes
import chart
import image
from leeward.claims import equal, expect
from leeward.cluster import Failure, etcdctl, wait_for

STATE = {}
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@contextlib.contextmanager
def network():
    """A folder for volumes and logs, the image's root and a network; whoever was started on it is ended with it."""
    with tempfile.TemporaryDirectory(prefix="leeward-boxes-") as directory:
        os.chmod(directory, 0o711)
        if "root" not in STATE:
            STATE["folder"] = tempfile.TemporaryDirectory(prefix="leeward-root-")
            os.chmod(STATE["folder"].name, 0o711)
            STATE["root"] = boxes.Root(os.path.join(STATE["folder"].name, "root"))
        made = boxes.Network(directory)
        members = {}
        try:
            yield made, members
        except BaseException:
            for name, box in members.items():
                print(f"--- {name}: last lines of its log\n" + "\n".join(box.text().splitlines()[-12:]))
            raise
        finally:
            for box in members.values():
                box.stop(signal.SIGKILL)
            boxes.run("ip", "link", "delete", "boxes")


def folder(network_, name, mode, uid=0, gid=0):
    path = os.path.join(network_.directory, name)
    os.makedirs(path, exist_ok=True)
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    return path


def asks(box, path):
    """Status of a path of the admin port, as the kubelet sees it, which checks no certificate."""
    scheme = "https" if "/etc/leeward-tls/server" in box.mounts else "http"
    try:
        with urllib.request.urlopen(f"{scheme}://{box.address}:8080{path}", timeout=5, context=ssl._create_unverified_context()) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def ready(box):
    def answer():
        if box.process.poll() is not None:
            raise SystemError(f"{box.name} ended with code {box.process.returncode}")
        return asks(box, "/readyz") == 200
    wait_for(f"{box.name} to be ready", answer, 40)


def typed(box, *words, timeout=60):
    done = box.inside("leewardctl", *words, timeout=timeout)
    if done.returncode:
        raise Failure(f"leewardctl {' '.join(words)} in {box.name}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def groups(box):
    told = json.loads(typed(box, "dr", "status", "-o", "json"))
    return {group["region"]: (group["role"], len(group["members"])) for group in told["groups"]}


def have_no_rights(members):
    """As the kernel sees each: its user, no capability, nothing to gain, and nowhere to write but its volumes."""
    for name, box in members.items():
        with open(f"/proc/{box.process.pid}/status", encoding="utf-8") as file:
            status = {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
        equal((set(status["Uid"].split()), int(status["CapEff"], 16), int(status["CapPrm"], 16), status["NoNewPrivs"]), ({"10001"}, 0, 0, "1"), name)
        with open(f"/proc/{box.process.pid}/mountinfo", encoding="utf-8") as file:
            mounts = {line.split()[4]: line.split()[5] for line in file}
        expect(mounts["/"].startswith("ro"), f"{name}: its root is {mounts['/']}")


# Compose

def compose_boxes(net, members):
    described, root = image.compose(), STATE["root"]
    for name, service in described["services"].items():
        place = folder(net, f"{name}-config", 0o755)
        with open(os.path.join(place, "leeward.toml"), "w", encoding="utf-8") as file:
            file.write(described["configs"]["leeward"]["content"])
        # A named volume begins as the folder of the image under it; a tmpfs with the options that it is given.
        volume, within = service["volumes"][0].split(":")
        tmpfs, options = service["tmpfs"][0].split(":")
        options = dict(option.split("=") for option in options.split(","))
        mounts = {within: (folder(net, volume, root.image.mode, root.uid, root.gid), False), "/etc/leeward": (place, True),
                  tmpfs: (folder(net, f"{name}-run", int(options["mode"], 8), int(options["uid"]), int(options["gid"])), False)}
        environment = {key: str(value) for key, value in service["environment"].items()}
        members[name] = boxes.Box(root, net, name, service.get("command", root.image.command), environment, mounts, everywhere=[name])
    return members


def the_six_of_compose_form_two_regions_and_the_standby_is_promoted():
    with network() as (net, members):
        compose_boxes(net, members)
        for box in members.values():
            box.start()
        for box in members.values():
            ready(box)
        equal([asks(box, "/primary") for box in members.values()], [200] * 3 + [503] * 3, "who is primary")
        for name in ("west-1", "west-2", "west-3"):
            wait_for(f"{name} to be eligible", lambda name=name: asks(members[name], "/standby/eligible") == 200, 30)
        equal(groups(members["west-2"]), {"east": ("primary", 3), "west": ("standby", 3)})
        have_no_rights(members)
        etcdctl(f"{members['east-2'].address}:2379", "put", "hello", "world")
        wait_for("it to reach the other region", lambda: etcdctl(f"{members['west-3'].address}:2379", "get", "hello", "--consistency=s",
                                                                 "--print-value-only").stdout.strip() == "world")
        health = members["west-1"].root.image.health
        equal(members["east-3"].inside(*health).returncode, 0, "the health check of a member that serves")
        for name in ("east-1", "east-2"):
            members[name].stop(signal.SIGKILL)
        wait_for("a lost quorum to be seen", lambda: asks(members["east-3"], "/readyz") == 503, 30)
        equal((members["east-3"].inside(*health).returncode, asks(members["east-3"], "/livez")), (0, 200), "the last one is healthy, ready it is not")
        members["east-3"].stop(signal.SIGKILL)
        expect(boxes.Image().health[0] == "leewardctl", "asked by something else")

        def plan():
            told = json.loads(typed(members["west-2"], "dr", "plan", "-o", "json"))
            return told["allowed"] and told
        command = wait_for("the promotion to be allowed", plan, 30)["next_command"].split()
        equal(command[0], "leewardctl")
        typed(members["west-2"], *command[1:], timeout=90)
        wait_for("the standby to serve", lambda: asks(members["west-1"], "/primary") == 200, 30)
        etcdctl(f"{members['west-1'].address}:2379", "put", "hello", "west")
        for name in ("west-1", "west-2", "west-3"):
            equal(members[name].stop(), 0, f"{name} stops")


def one_command_runs_a_member_on_loopback():
    """The one that the image's README begins with."""
    with open(os.path.join(image.FOLDER, "README.md"), encoding="utf-8") as file:
        words = re.search(r"docker run --rm --network host leeward:\S+ (--dev .*?) +#", file.read()).group(1).split()
    with network() as (net, members):
        root = STATE["root"]
        mounts = {place: (folder(net, os.path.basename(place), root.image.mode, root.uid, root.gid), False) for place in ("/var/lib/leeward", "/run/leeward")}
        members["one"] = box = boxes.Box(root, net, "one", words, {}, mounts).start()
        wait_for("it to lead", lambda: json.loads(typed(box, "cluster", "status", "-o", "json"))["leader_id"] == "1", 20)


def a_health_check_says_when_nobody_answers():
    with network() as (net, members):
        box = compose_boxes(net, members)["east-1"].start()
        wait_for("it to answer", lambda: box.inside(*box.root.image.health).returncode == 0, 20)
        box.process.send_signal(signal.SIGSTOP)
        equal(box.inside(*box.root.image.health, timeout=90).returncode, 4, "of a process that stands still")
        box.process.send_signal(signal.SIGCONT)


# The chart. Releases bear their regions' names, and none knows the other's names of services.

def certificate(values, release, use, place, net):
    """The secret that cert-manager would make of a Certificate: of one authority for both regions."""
    made = chart.objects(values, release)["Certificate", f"{release}-leeward-{use}"]["spec"]
    authority = folder(net, f"authority-{made['issuerRef']['name']}", 0o700)
    if not os.listdir(authority):
        boxes.run("openssl", "req", "-x509", *KEY, "-keyout", f"{authority}/ca.key", "-out", f"{authority}/ca.crt", "-days", "30", "-subj", f"/CN={use}")
    names = ",".join(f"DNS:{name}" for name in made.get("dnsNames", []))
    with open(f"{authority}/names", "w", encoding="utf-8") as file:
        file.write((f"subjectAltName={names}\n" if names else "") + "extendedKeyUsage=" + ("serverAuth,clientAuth\n" if names else "clientAuth\n"))
    boxes.run("openssl", "req", *KEY, "-keyout", f"{place}/tls.key.new", "-out", f"{authority}/csr", "-subj", f"/CN={made['commonName']}" if "commonName" in made else "/")
    boxes.run("openssl", "x509", "-req", "-in", f"{authority}/csr", "-CA", f"{authority}/ca.crt", "-CAkey", f"{authority}/ca.key", "-CAcreateserial",
              "-days", "30", "-out", f"{place}/tls.crt.new", "-extfile", f"{authority}/names")
    shutil.copy(f"{authority}/ca.crt", f"{place}/ca.crt.new")
    for name in ("tls.key", "tls.crt", "ca.crt"):
        os.chown(f"{place}/{name}.new", 0, STATE["root"].gid)
        os.chmod(f"{place}/{name}.new", 0o440)
        os.replace(f"{place}/{name}.new", f"{place}/{name}")


def volume(net, values, release, n, spec, name):
    """The folder that stands for one of a pod's volumes."""
    described = next((each for each in spec["volumes"] if each["name"] == name), None)
    gid = STATE["root"].gid
    if described is None:  # a claim: as a fresh file system is with fsGroup
        place = folder(net, f"{release}-{n}-{name}", 0o2775, 0, gid)
        folder(net, f"{release}-{n}-{name}/lost+found", 0o700)
    elif "emptyDir" in described:
        place = folder(net, f"{release}-{n}-{name}", 0o2777, 0, gid)
    elif "configMap" in described:
        place = folder(net, f"{release}-{n}-{name}", 0o755)
        for file, text in chart.objects(values, release)["ConfigMap", described["configMap"]["name"]]["data"].items():
            with open(os.path.join(place, file), "w", encoding="utf-8") as handle:
                handle.write(text)
    else:
        place = folder(net, f"{release}-{name}", 0o755)
        if not os.path.exists(f"{place}/tls.crt"):
            certificate(values, release, name.removesuffix("-tls"), place, net)
    return place


def pod(net, values, n):
    """Pod n of a release, by its StatefulSet."""
    root, release = STATE["root"], values["region"]
    workload = chart.one(values, "StatefulSet", release)
    spec = workload["spec"]["template"]["spec"]
    container, = spec["containers"]
    name = f"{workload['metadata']['name']}-{n}"
    known = {"metadata.name": name, "metadata.labels['topology.kubernetes.io/zone']": f"{release}-{'abc'[n % 3]}"}
    environment = {variable["name"]: variable.get("value") or known[variable["valueFrom"]["fieldRef"]["fieldPath"]] for variable in container["env"]}
    arguments = [re.sub(r"\$\((\w+)\)", lambda found: environment[found.group(1)], word) for word in container["args"]]
    mounts = {mount["mountPath"]: (volume(net, values, release, n, spec, mount["name"]), bool(mount.get("readOnly"))) for mount in container["volumeMounts"]}
    # Its name in its own cluster's headless service, and the one by which the other region has it.
    return boxes.Box(root, net, name, arguments, environment, mounts, zone=release, everywhere=[values["external"]["hosts"][n]],
                     here=[f"{name}.{workload['spec']['serviceName']}.stores.svc"])


def voters(box):
    return sorted(int(member["id"]) for member in json.loads(typed(box, "cluster", "status", "-o", "json"))["members"]
                  if member["region"] == "east" and member["voter"])


def two_releases_with_tls_form_two_regions_and_members_come_and_go():
    east, west = {**chart.PAIR, **chart.TLS}, {**chart.STANDBY, **chart.TLS}
    with network() as (net, members):
        for values, n in itertools.product((east, west), range(3)):
            box = pod(net, values, n)
            members[box.name] = box
        for box in members.values():
            box.start()
        for box in members.values():
            ready(box)
        wait_for("the standby to be eligible", lambda: asks(members["west-leeward-0"], "/standby/eligible") == 200, 30)
        first = members["east-leeward-0"]
        equal(groups(members["west-leeward-1"]), {"east": ("primary", 3), "west": ("standby", 3)})
        have_no_rights(members)
        with urllib.request.urlopen(f"https://{first.address}:9090/metrics", timeout=10, context=ssl._create_unverified_context()) as page:
            expect('zone="east-a"' in page.read().decode(), "a pod's zone is not in its metrics")
        a_pod_comes_back_elsewhere(net, east, members)
        a_pod_comes_back_on_an_empty_volume(net, east, members)
        two_pods_are_added(net, east, members)
        equal(voters(first), [1, 2, 3, 4, 5])
        for number in (5, 4):  # the highest first, as Kubernetes takes them away
            wait_for(f"{number} to be removed", lambda number=number: typed(first, "member", "remove", str(number)), 30)
            members[f"east-leeward-{number - 1}"].stop()
        equal(voters(first), [1, 2, 3])
        ready(first)
        # By the operator's certificate, asked of the other region too.
        wait_for("the switchover", lambda: typed(members["west-leeward-1"], "dr", "switchover", "--reason", "test"), 30)
        wait_for("the other region to serve", lambda: asks(members["west-leeward-0"], "/primary") == 200, 30)


def a_pod_comes_back_elsewhere(net, values, members):
    """The same name and volume at another address, as after the loss of a node."""
    old = members["east-leeward-1"]
    old.stop(signal.SIGKILL)
    new = pod(net, values, 1)
    expect(new.address != old.address, "it has the address of before")
    members[new.name] = new.start()
    ready(new)


def a_pod_comes_back_on_an_empty_volume(net, values, members):
    """It has forgotten its vote: it is not ready until somebody admits it, and alive all the same."""
    box = members["east-leeward-2"]
    box.stop(signal.SIGKILL)
    place = box.mounts["/var/lib/leeward"][0]
    shutil.rmtree(place)
    members[box.name] = box = pod(net, values, 2).start()
    wait_for("it to say what it waits for", lambda: "member admit 3" in typed(box, "replica", "status", "--id", "3"), 20)
    equal((asks(box, "/readyz"), asks(box, "/livez")), (503, 200), "a member that nobody has admitted")
    wait_for("it to be admitted", lambda: typed(members["east-leeward-0"], "member", "admit", "3"), 30)
    ready(box)


def two_pods_are_added(net, values, members):
    """By what the notes say is to be typed, certificates for the new names first."""
    larger = {**values, "replicas": 5, "initialReplicas": 3, "external": {"hosts": chart.EAST[:5]}}
    for use in ("server", "peer"):
        certificate(larger, "east", use, os.path.join(net.directory, f"east-{use}-tls"), net)
    for n in (3, 4):
        box = pod(net, larger, n)
        members[box.name] = box.start()
    commands = re.findall(r"kubectl -n stores exec (\S+) -- leewardctl (member .*?)(?: &&|$)", chart.notes(larger, "east"), re.M)
    equal([command.split()[1] for _, command in commands], ["add", "wait-sync", "promote"] * 2, "what is to be typed")
    for pod_name, command in commands:
        wait_for(command, lambda: [typed(members[pod_name], *command.split(), timeout=120)], 30)
    for n in (3, 4):
        ready(members[f"east-leeward-{n}"])
