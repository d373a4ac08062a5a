"""Two regions applied for real, to a stand-in of AWS; what the tests of both share.

One deployment for the whole suite: it comes up, is looked at, changes, and is destroyed, in the order of `run`.
"""
import atexit
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import boto3

from leeward.cluster import wait_for
import workspace

PRIMARY, DR, WITNESS = "eu-central-1", "eu-west-1", "eu-north-1"
NAME = "leeward"
FOLDER = "environments/aws-two-region"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def zones(region):
    return [region + letter for letter in "abc"]


class Stand:
    """moto's server, and boto3 and Terraform pointed at it."""

    def __init__(self):
        host = f"127.{random.randint(20, 200)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        with socket.create_server((host, 0)) as free:
            port = free.getsockname()[1]
        self.states = {}
        self.address, self.url = (host, port), f"http://{host}:{port}"
        self.log = open(os.path.join(workspace.SCRATCH, "moto.log"), "wb")
        self.server = subprocess.Popen([sys.executable, os.path.join(workspace.HERE, "moto_server.py"), host, str(port),
                                        PRIMARY, DR, WITNESS], stdout=self.log, stderr=subprocess.STDOUT)
        try:
            wait_for("moto to answer", self.answers, 300)
        except BaseException:
            self.stop()
            raise
        self.variables = os.path.join(workspace.SCRATCH, "deployment.tfvars.json")
        self.zone = self.client("route53", DR).create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"].split("/")[-1]

    def answers(self):
        try:
            socket.create_connection(self.address, timeout=2).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(60)
        self.log.close()

    def client(self, service, region):
        return boto3.client(service, region_name=region, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test")

    def environment(self, **more):
        return workspace.environment(AWS_ENDPOINT_URL=self.url, **KEYS, **more)

    def write_variables(self, primary=3, dr=3, **more):
        """Members of each region, and what else differs from a first apply."""
        with open(self.variables, "w", encoding="utf-8") as file:
            json.dump({
                "name": NAME,
                "primary": {"region": PRIMARY, "vpc_cidr": "10.10.0.0/16", "azs": zones(PRIMARY), "members": primary},
                "dr": {"region": DR, "vpc_cidr": "10.20.0.0/16", "azs": zones(DR), "members": dr},
                "allowed_cidrs": ["10.0.0.0/8"],
                "operator_cidrs": ["10.20.240.0/28"],
                "emails": ["oncall@example.com"],
                "dns": {"mode": "public", "record_name": "leeward.example.com", "zone_id": self.zone},
                **more,
            }, file)

    def terraform(self, *words, folder=FOLDER, codes=(0,)):
        if words[0] in ("apply", "destroy"):
            self.states.pop(folder, None)
        started = time.monotonic()
        result = workspace.terraform(folder, *words, env=self.environment(), codes=codes, timeout=1800)
        print(f"   terraform {words[0]}: {time.monotonic() - started:.1f} s", flush=True)
        return result

    def change(self, word, *more, codes=(0,)):
        """plan, apply or destroy of the deployment."""
        approve = [] if word == "plan" else ["-auto-approve"]
        return self.terraform(word, "-no-color", "-parallelism=20", f"-var-file={self.variables}", *approve, *more, codes=codes)

    def plan(self, *more):
        """What an apply would do, address to actions, left in a file for apply()."""
        file = f"{workspace.SCRATCH}/change.plan"
        self.change("plan", f"-out={file}", *more)
        made = workspace.terraform_json(FOLDER, "show", "-json", file, env=self.environment())
        actions = {c["address"]: c["change"]["actions"] for c in made["resource_changes"]}
        return {address: done for address, done in actions.items() if done not in (["no-op"], ["read"])}

    def apply(self, codes=(0,)):
        """Does what plan() said."""
        return self.terraform("apply", "-no-color", "-parallelism=20", f"{workspace.SCRATCH}/change.plan", codes=codes)

    def members(self):
        """Of both regions: name to what the inventory says."""
        groups = self.output("inventory")["all"]["children"]["leeward"]["children"]
        return {name: host for group in ("primary", "dr") for name, host in groups[group]["hosts"].items()}

    def instances(self, region):
        """Those that are not terminated, by id."""
        found = self.client("ec2", region).describe_instances()["Reservations"]
        return {i["InstanceId"]: i for r in found for i in r["Instances"] if i["State"]["Name"] != "terminated"}

    def state(self, folder=FOLDER):
        """`terraform show -json`, asked once for each change: it loads the whole provider."""
        if folder not in self.states:
            self.states[folder] = workspace.terraform_json(folder, "show", "-json", env=self.environment())
        return self.states[folder]

    def output(self, name, folder=FOLDER):
        return self.state(folder)["values"]["outputs"][name]["value"]


stand = None


def start():
    global stand
    stand = Stand()
    atexit.register(stand.stop)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a suite that is ended takes its server with it
    return stand


def resources(state):
    """Every managed resource of a state, as (address, type, values)."""
    def walk(module):
        for resource in module.get("resources", []):
            if resource["mode"] == "managed":
                yield resource["address"], resource["type"], resource["values"]
        for child in module.get("child_modules", []):
            yield from walk(child)
    return list(walk(state["values"]["root_module"])) if "values" in state else []


def of_type(state, wanted, within=""):
    return {address: values for address, kind, values in resources(state) if kind == wanted and address.startswith(within)}
