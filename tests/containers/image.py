"""The Dockerfile and the Compose file, without an engine: judged by hadolint, and what they say held against the programs."""
import functools
import os
import re
import subprocess

import yaml

import boxes
import tooling
from leeward.claims import equal, expect
from leeward.cluster import ROOT

FOLDER = os.path.join(ROOT, "packaging", "container")


@functools.lru_cache(None)
def compose():
    with open(os.path.join(FOLDER, "compose.yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)


def hadolint_finds_nothing_to_say():
    done = subprocess.run([tooling.HADOLINT, boxes.DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    equal((done.returncode, done.stdout + done.stderr), (0, ""))
    # And it sees what it should: a user who is root again at the end.
    with open(boxes.DOCKERFILE, encoding="utf-8") as file:
        done = subprocess.run([tooling.HADOLINT, "-"], input=file.read() + "USER root\n", capture_output=True, text=True, timeout=60, check=False)
    expect(done.returncode == 1 and "DL3002" in done.stdout, f"a user root passes: {done.stdout}")


def the_image_has_each_library_that_the_programs_want_and_no_package_for_nothing():
    image = boxes.Image()
    files = {file: library for program in boxes.PROGRAMS for library, file in boxes.libraries(os.path.join(boxes.BIN, program)).items()}
    wanted = {}
    for file, package in boxes.owners(files).items():
        wanted.setdefault(package, set()).add(files[file])
    missing = set(wanted) - boxes.depends(image.packages)
    expect(not missing, f"libraries of packages that the image lacks: { {name: wanted[name] for name in missing} }")
    expect(not set(image.packages) - set(wanted) - {"ca-certificates"}, f"in the image for nothing: {set(image.packages) - set(wanted)}")


def the_image_is_of_the_release_that_the_programs_are_built_on():
    equal(boxes.Image().bases, ["debian:12", "debian:12-slim"])
    with open(boxes.DOCKERFILE, encoding="utf-8") as file:
        text = file.read()
    for command in ("RUN scripts/deps build", "LEEWARD_TESTS=OFF scripts/build release leewardd leewardctl"):
        expect(command in text, f"the build has no {command}")


def the_image_runs_as_a_user_without_rights():
    image = boxes.Image()
    equal((image.user, image.entry, image.command), ("10001:10001", ["leewardd"], ["--config", "/etc/leeward/leeward.toml"]))
    expect("HEALTHCHECK" in image.instructions, "no health check")
    equal(image.health, ["leewardctl", "dr", "status"])


def every_member_of_compose_is_accepted_by_the_daemon():
    file, image = compose(), boxes.Image()
    toml = file["configs"]["leeward"]["content"]
    found = {}
    for name, service in file["services"].items():
        environment = {key: str(value) for key, value in {**image.environment, **service["environment"]}.items()}
        code, said = boxes.check(toml, environment)
        equal(code, 0, f"{name}: {said}")
        found[name] = int(environment["LEEWARD_NODE_ID"])
        listed = re.search(rf'\{{ id = {found[name]}, name = "{name}", peer = "{name}:2380", client = "{name}:2379"', toml)
        expect(listed, f"{name} is not the member {found[name]} of the list")
    equal(found, {"east-1": 1, "east-2": 2, "east-3": 3, "west-1": 11, "west-2": 12, "west-3": 13})
    code, said = boxes.check(toml, {"LEEWARD_NODE_ID": "7"})
    expect(code == 2 and "node.id" in said, f"a member that nobody lists is accepted: {said}")


def every_member_of_compose_has_no_rights_and_a_volume_of_its_own():
    file = compose()
    volumes, ports = [], []
    for name, service in file["services"].items():
        equal((service["read_only"], service["cap_drop"], service["security_opt"]), (True, ["ALL"], ["no-new-privileges:true"]), name)
        volume, within = service["volumes"][0].split(":")
        equal(within, "/var/lib/leeward", name)
        expect(volume in file["volumes"], f"{name}: no volume {volume}")
        volumes.append(volume)
        ports += service["ports"]
        expect(all(port.startswith("127.0.0.1:") for port in service["ports"]), f"{name} is published beyond this machine: {service['ports']}")
        with open(os.path.join(ROOT, "packaging", "systemd", "leeward.service"), encoding="utf-8") as unit:
            equal(service["stop_grace_period"], re.search(r"TimeoutStopSec=(\d+s)", unit.read()).group(1), name)
    outside = [port.rsplit(":", 1)[0] for port in ports]
    equal((len(set(volumes)), len(set(outside))), (6, len(outside)), "volumes and ports that are not shared")
