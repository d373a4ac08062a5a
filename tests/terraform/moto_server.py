"""AWS's stand-in: moto's server on loopback, with patches for what it lacks. Each says what AWS does.

usage: moto_server.py ADDRESS PORT REGION ...
"""
import inspect
import json
import os
import sys

# Debian's images, which moto does not know: an older one, the newest, and a newer one of somebody else.
os.environ["MOTO_AMIS_PATH"] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images.json")

from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.monitoring import Monitoring
from moto.elbv2 import models as elbv2_models
from moto.kms.models import kms_backends
from moto.kms.responses import KmsResponse
from moto.s3.responses import S3Response
from moto.secretsmanager.models import FakeSecret
from moto.server import main

ACCOUNT = "123456789012"
CHECKERS = "com.amazonaws.{region}.route53-healthchecks"


def let_replica_keys_be_keys_of_their_own():
    """ReplicateKey takes tags, and a replica's aliases and kind are its own. moto drops the tags, for which the provider
    then waits until its time is up, and lets both keys share aliases and the word whether they are a replica."""
    original = KmsResponse.replicate_key

    def replicate_key(self):
        answer = original(self)
        backend = kms_backends[ACCOUNT][self._get_param("ReplicaRegion")]
        key = backend.keys[json.loads(answer)["ReplicaKeyMetadata"]["KeyId"]]
        key.aliases = {}
        key.multi_region_configuration = {**key.multi_region_configuration, "MultiRegionKeyType": "REPLICA"}
        backend.tag_resource(key.id, {tag["TagKey"]: tag["TagValue"] for tag in self._get_param("Tags") or []})
        return answer
    KmsResponse.replicate_key = replicate_key


def name_network_load_balancers():
    """ARNs of network load balancers have `net/` in them; moto names all `app/`. CloudWatch knows balancers by it."""
    original = elbv2_models.make_arn_for_load_balancer

    def make_arn(account_id, lb_id, name, region_name):
        return original(account_id=account_id, lb_id=lb_id, name=name, region_name=region_name).replace("/app/", "/net/")
    elbv2_models.make_arn_for_load_balancer = make_arn  # this suite makes no others


def switch_detailed_monitoring():
    """MonitorInstances, which moto knows by name only: the provider calls it for each instance that asks for figures by
    the minute."""
    def switch(self, state):
        ids = self._get_param("InstanceIds", [])
        for instance in ids:
            self.ec2_backend.get_instance(instance).monitoring_state = state
        return ActionResult({"InstanceMonitorings": [{"InstanceId": i, "Monitoring": {"State": state}} for i in ids]})
    Monitoring.monitor_instances = lambda self: switch(self, "enabled")
    Monitoring.unmonitor_instances = lambda self: switch(self, "disabled")


def protect_instances_from_the_start():
    """RunInstances takes DisableApiTermination; moto takes it afterwards only."""
    original = InstanceResponse.run_instances

    def run_instances(self):
        answer = original(self)
        for instance in answer.result.instances:
            instance.disable_api_termination = bool(self._get_param("DisableApiTermination"))
        return answer
    InstanceResponse.run_instances = run_instances


def keep_security_groups_of_instances():
    """An instance is in the security groups of its first network interface, which ends with it and frees its address;
    moto tells the groups of the interface only, if they were given with it, and keeps the address."""
    original = InstanceResponse.run_instances

    def run_instances(self):
        answer = original(self)
        for instance in answer.result.instances:
            instance.security_groups = instance.security_groups or list(instance.nics[0].group_set)
            instance.nics[0].delete_on_termination = True
        return answer
    InstanceResponse.run_instances = run_instances


def keep_descriptions_of_rules():
    """A rule has its description whatever it names; moto gives that of addresses only."""
    original = SecurityGroupRule.__init__

    def remember(self, *words, **more):
        original(self, *words, **more)
        named = inspect.signature(original).bind(self, *words, **more).arguments.get("prefix_list_id")
        self.of_list = (named or {}).get("Description")
    SecurityGroupRule.__init__ = remember
    SecurityGroupRule.description = property(
        lambda self: self.ip_range.get("Description") or self.source_group.get("Description") or self.of_list)


def keep_keys_of_secrets_copies():
    """A copy of a secret is encrypted by the key that was named for it; moto says AWS's own for all."""
    original = FakeSecret.create_replicas

    def create_replicas(self, replica_regions, force_overwrite):
        copies = original(self, replica_regions, force_overwrite)
        for copy, wanted in zip(copies, replica_regions):
            copy.config["KmsKeyId"] = wanted.get("KmsKeyId", copy.config["KmsKeyId"])
        return copies
    FakeSecret.create_replicas = create_replicas


def keep_what_is_copied_of_buckets():
    """GetBucketReplication answers what was put; moto leaves out which objects are chosen."""
    original = S3Response.get_bucket_replication

    def get_bucket_replication(self):
        kept = self.backend.get_bucket_replication(self.bucket_name)
        if not kept:
            return original(self)
        self.data["Action"] = "GetBucketReplication"
        rules = [{**rule, "Filter": rule["Filter"] or {"Prefix": ""}} for rule in kept["Rule"]]
        return self.serialized(ActionResult({"ReplicationConfiguration": {"Role": kept["Role"], "Rules": rules}}))
    S3Response.get_bucket_replication = get_bucket_replication


def know_the_health_checkers():
    """Each region has AWS's own prefix list of Route 53's health checkers; moto has those of S3 and DynamoDB."""
    for region in sys.argv[3:]:
        ec2_backends[ACCOUNT][region].create_managed_prefix_list(
            address_family="IPv4", max_entries="100", prefix_list_name=CHECKERS.format(region=region), owner_id="aws")


let_replica_keys_be_keys_of_their_own()
switch_detailed_monitoring()
protect_instances_from_the_start()
keep_security_groups_of_instances()
keep_descriptions_of_rules()
keep_keys_of_secrets_copies()
keep_what_is_copied_of_buckets()
name_network_load_balancers()
know_the_health_checkers()
main(["-H", sys.argv[1], "-p", sys.argv[2]])
