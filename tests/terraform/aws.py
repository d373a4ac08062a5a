"""The deployment's life: it comes up, is what was asked for, stays as it is, grows, shrinks, and goes."""
import json

from leeward.claims import equal, expect
import deployment
from deployment import DR, FOLDER, NAME, PRIMARY, WITNESS, of_type, resources, zones
import workspace

# What is lost or changes its address when it is destroyed: no change of size may.
PRECIOUS = ("aws_ebs_volume", "aws_kms_key", "aws_kms_replica_key", "aws_s3_bucket", "aws_lb", "aws_instance", "aws_vpc",
            "aws_secretsmanager_secret")


def the_state_stands_outside_of_the_primary_region_and_is_locked():
    stand = deployment.start()
    with open(f"{workspace.TREE}/environments/state/terraform.tfvars.json", "w", encoding="utf-8") as file:
        json.dump({"name": NAME, "region": DR, "copy_region": PRIMARY}, file)
    workspace.init("environments/state", env=stand.environment())
    stand.terraform("apply", "-no-color", "-auto-approve", folder="environments/state")
    settings = stand.output("backend_tf", folder="environments/state")
    with open(f"{workspace.TREE}/{FOLDER}/backend.tf", "w", encoding="utf-8") as file:
        file.write(settings)
    expect(f'region       = "{DR}"' in settings and "use_lockfile = true" in settings, settings)
    s3 = stand.client("s3", DR)
    bucket = f"{NAME}-state-123456789012"
    equal(s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled", "versions of the state")
    copies = s3.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]["Rules"]
    equal([rule["Destination"]["Bucket"] for rule in copies], [f"arn:aws:s3:::{NAME}-state-copy-123456789012"], "copy")
    place = stand.client("s3", PRIMARY).get_bucket_location(Bucket=f"{NAME}-state-copy-123456789012")["LocationConstraint"]
    equal(place, PRIMARY, "region of the copy")


def two_regions_come_up_from_nothing():
    stand = deployment.stand
    stand.write_variables()
    workspace.init(FOLDER, env=stand.environment())
    # Somebody else is at it: the lock file of the bucket says so.
    s3 = stand.client("s3", DR)
    where = {"Bucket": f"{NAME}-state-123456789012", "Key": f"{NAME}/terraform.tfstate.tflock"}
    lock = {"ID": "5e1c", "Operation": "OperationTypeApply", "Info": "", "Who": "other@elsewhere", "Version": "1.11.0",
            "Created": "2030-01-01T00:00:00Z", "Path": where["Key"]}
    s3.put_object(Body=json.dumps(lock), **where)
    _, text = stand.change("plan", "-refresh=false", codes=(1,))
    expect("Error acquiring the state lock" in text and "other@elsewhere" in text, text)
    s3.delete_object(**where)
    stand.change("apply")
    stored = s3.get_object(Bucket=where["Bucket"], Key=f"{NAME}/terraform.tfstate")
    expect(len(json.loads(stored["Body"].read())["resources"]) > 100, "the state in the bucket is not that of the deployment")


def members_stand_one_in_each_zone_with_encrypted_volumes_of_their_own():
    for region, group, key in ((PRIMARY, "primary", "data_key.aws_kms_key"), (DR, "dr", "data_key.aws_kms_replica_key")):
        ec2 = deployment.stand.client("ec2", region)
        hosts = deployment.stand.output("inventory")["all"]["children"]["leeward"]["children"][group]["hosts"]
        equal(len(hosts), 3, f"members in {region}")
        instances = {i["InstanceId"]: i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]}
        volumes = {v["VolumeId"]: v for v in ec2.describe_volumes()["Volumes"]}
        arn = next(v["arn"] for a, v in of_key(deployment.stand.state()) if key in a)
        expect(f":{region}:" in arn, f"{region} has no copy of the key: {arn}")
        equal(sorted(instances[h["leeward_instance"]]["Placement"]["AvailabilityZone"] for h in hosts.values()), zones(region), "zones")
        for name, host in hosts.items():
            instance = instances[host["leeward_instance"]]
            equal(instance["PrivateIpAddress"], host["ansible_host"], f"address of {name}")
            equal(instance["ImageId"], "ami-0bbbbbbbbbbbbbbbb", f"image of {name}")
            equal(instance["MetadataOptions"]["HttpTokens"], "required", f"metadata of {name}")
            expect("PublicIpAddress" not in instance, f"{name} has a public address")
            for size, volume in ((50, host["leeward_data_volume"]), (20, host["leeward_wal_volume"])):
                found = volumes[volume]
                equal((found["Size"], found["Encrypted"], found["KmsKeyId"], found["AvailabilityZone"]),
                      (size, True, arn, host["leeward_zone"]), f"volume of {name}")
                equal([a["InstanceId"] for a in found["Attachments"]], [host["leeward_instance"]], f"attachment of {name}")


def of_key(state):
    return [(a, v) for a, kind, v in resources(state) if kind in ("aws_kms_key", "aws_kms_replica_key")]


def nothing_is_open_to_the_world_and_regions_reach_each_other():
    for region in (PRIMARY, DR):
        ec2 = deployment.stand.client("ec2", region)
        groups = [g for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"].startswith(NAME)]
        expect(len(groups) >= 4, f"only {[g['GroupName'] for g in groups]} in {region}")
        for group in groups:
            for rule in group["IpPermissions"]:
                ranges = [r["CidrIp"] for r in rule.get("IpRanges", [])]
                expect("0.0.0.0/0" not in ranges and not rule.get("Ipv6Ranges"), f"{group['GroupName']} lets the world in: {rule}")
                equal(rule["FromPort"], rule["ToPort"], f"ports of a rule of {group['GroupName']}")
        balancers = deployment.stand.client("elbv2", region).describe_load_balancers()["LoadBalancers"]
        equal({b["LoadBalancerName"]: b["Scheme"] for b in balancers if not b["LoadBalancerName"].endswith("-health")},
              {f"{NAME}-{'pri' if region == PRIMARY else 'dr'}": "internal"}, "balancers")
        other = "10.20.0.0/16" if region == PRIMARY else "10.10.0.0/16"
        tables = [t for t in ec2.describe_route_tables()["RouteTables"]
                  if any(r.get("DestinationCidrBlock") == other and r.get("VpcPeeringConnectionId") for r in t["Routes"])]
        equal(len(tables), 3, f"zones of {region} that reach the other region")
    peering = deployment.stand.client("ec2", PRIMARY).describe_vpc_peering_connections()["VpcPeeringConnections"]
    equal([p["Status"]["Code"] for p in peering], ["active"], "peering")


def balancers_ask_who_is_primary_and_who_is_fresh():
    for region in (PRIMARY, DR):
        elb = deployment.stand.client("elbv2", region)
        groups = {g["TargetGroupName"].rsplit("-", 1)[1]: g for g in elb.describe_target_groups()["TargetGroups"]}
        equal({d: groups[d]["HealthCheckPath"] for d in ("write", "read")}, {"write": "/primary", "read": "/replica?lag=1s"}, "checks")
        for door in ("write", "read"):
            equal((groups[door]["HealthCheckPort"], groups[door]["HealthCheckProtocol"]), ("9090", "HTTPS"), f"how {door} asks")
            targets = elb.describe_target_health(TargetGroupArn=groups[door]["TargetGroupArn"])["TargetHealthDescriptions"]
            equal(len(targets), 3, f"members behind {door} in {region}")


def somebody_outside_hears_when_a_region_is_silent():
    for region in (PRIMARY, DR):
        alarms = deployment.stand.client("cloudwatch", region).describe_alarms()["MetricAlarms"]
        expect(len(alarms) >= 5 and all(f":{region}:" in action for a in alarms for action in a["AlarmActions"]),
               f"alarms of {region} tell nobody in it: {[a['AlarmName'] for a in alarms]}")
    alarms = deployment.stand.client("cloudwatch", WITNESS).describe_alarms()["MetricAlarms"]
    equal(sorted((a["Dimensions"][0]["Value"], a["TreatMissingData"]) for a in alarms), [(PRIMARY, "breaching"), (DR, "breaching")], "silence")
    expect(all(f":{WITNESS}:" in action for a in alarms for action in a["AlarmActions"]), "the witness's alarm needs another region")


def members_and_balancers_are_protected():
    stand = deployment.stand
    for region in (PRIMARY, DR):
        ec2 = stand.client("ec2", region)
        for instance in (i["InstanceId"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]):
            answer = ec2.describe_instance_attribute(InstanceId=instance, Attribute="disableApiTermination")
            expect(answer["DisableApiTermination"]["Value"], f"{instance} may be terminated")
        elb = stand.client("elbv2", region)
        for balancer in elb.describe_load_balancers()["LoadBalancers"]:
            found = elb.describe_load_balancer_attributes(LoadBalancerArn=balancer["LoadBalancerArn"])["Attributes"]
            expect({"Key": "deletion_protection.enabled", "Value": "true"} in found, f"{balancer['LoadBalancerName']} may be deleted")


def a_second_plan_changes_nothing():
    code, text = deployment.stand.change("plan", "-detailed-exitcode", codes=(0, 1, 2))
    expect(code == 0, f"a plan right after the apply ended with {code}:\n{text[-4000:]}")


def stands(state):
    """All that is there, address to id."""
    return {address: values.get("id") for address, _, values in resources(state)}


def of_member(name):
    """All that is one member's, and nobody else's."""
    here = "module.cluster" if "-pri-" in name else "module.dr.module.cluster"
    watch = "module.monitoring" if "-pri-" in name else "module.monitoring_dr"
    own = {f'{here}.aws_{kind}["{name}"]' for kind in
           ("ebs_volume.data", "ebs_volume.wal", "instance.member", "volume_attachment.data", "volume_attachment.wal")}
    doors = {f'{here}.aws_lb_target_group_attachment.this["{name}-{door}"]' for door in ("write", "read")}
    asked = set() if "-pri-" in name else {f'module.dns[0].aws_lb_target_group_attachment.health["{name}"]'}
    return own | doors | asked | {f'{watch}.aws_cloudwatch_metric_alarm.status["{name}"]', f'terraform_data.protection["{name}"]'}


# The alarm for too few members that answer counts them.
COUNTED = {f"module.{watch}.aws_cloudwatch_metric_alarm.readable": ["update"] for watch in ("monitoring", "monitoring_dr")}
JOINING = [f"{NAME}-pri-4", f"{NAME}-pri-5", f"{NAME}-dr-14", f"{NAME}-dr-15"]


def everything_runs(members=None):
    """Instances with their volumes attached, and the balancers' targets, as many as there are members."""
    stand = deployment.stand
    members = members or stand.members()
    for region, short in ((PRIMARY, "pri"), (DR, "dr")):
        hosts = {name: host for name, host in members.items() if f"-{short}-" in name}
        instances = stand.instances(region)
        volumes = {v["VolumeId"]: [a["InstanceId"] for a in v["Attachments"]] for v in stand.client("ec2", region).describe_volumes()["Volumes"]}
        for name, host in hosts.items():
            equal(instances[host["leeward_instance"]]["State"]["Name"], "running", f"state of {name}")
            equal([volumes[host[f"leeward_{kind}_volume"]] for kind in ("data", "wal")], [[host["leeward_instance"]]] * 2, f"volumes of {name}")
        elb = stand.client("elbv2", region)
        for group in elb.describe_target_groups()["TargetGroups"]:
            if group["TargetGroupName"].rsplit("-", 1)[1] in ("write", "read"):
                targets = elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
                equal({t["Target"]["Id"] for t in targets}, {h["leeward_instance"] for h in hosts.values()}, f"behind {group['TargetGroupName']}")


def a_destroy_is_refused_before_it_touches_anything():
    stand = deployment.stand
    before, members = stands(stand.state()), stand.members()
    _, text = stand.change("destroy", codes=(1,))
    expect(f"{NAME}-pri-1 is protected: deletion_protection = false" in text, text[-4000:])
    equal(stands(stand.state()), before, "what there is")
    everything_runs(members)
    equal(stand.plan(), {}, "what an apply would have to mend, but for outputs, which a destroy drops first")
    stand.apply()
    equal(stand.members(), members, "outputs after an apply")


def more_members_are_created_and_nothing_else_changes():
    stand = deployment.stand
    before = stands(stand.state())
    stand.write_variables(primary=5, dr=5)
    equal(stand.plan(), {**{a: ["create"] for name in JOINING for a in of_member(name)}, **COUNTED}, "changes")
    stand.apply()
    after = stands(stand.state())
    equal({a: after.get(a) for a in before}, before, "what was there")
    members = stand.members()
    equal({name: (members[name]["ansible_host"], members[name]["leeward_zone"]) for name in JOINING},
          {f"{NAME}-{short}-{first + at}": (f"{net}.{16 * at}.11", zones(region)[at])
           for short, first, net, region in (("pri", 4, "10.10", PRIMARY), ("dr", 14, "10.20", DR)) for at in (0, 1)}, "addresses and zones")
    everything_runs()
    equal(stand.plan(), {}, "changes in a second plan")


def fewer_members_are_refused_before_one_is_touched():
    stand = deployment.stand
    before, members = stands(stand.state()), stand.members()
    stand.write_variables()
    stand.plan()
    _, text = stand.apply(codes=(1,))
    for name in JOINING:
        expect(f"{name} is protected" in text, text[-4000:])
    equal(stands(stand.state()), before, "what there is")
    everything_runs(members)
    stand.write_variables(primary=5, dr=5)
    changes = stand.plan()
    equal({a: done for a, done in changes.items() if a not in COUNTED}, {}, "what an apply has to mend, but for what counts members")
    stand.apply()
    equal(stand.members(), members, "outputs after an apply")


def a_member_gets_a_new_instance_with_its_address_and_volumes():
    stand = deployment.stand
    name = f"{NAME}-pri-2"
    before, instance = stand.members(), f'module.cluster.aws_instance.member["{name}"]'
    changes = stand.plan(f"-replace={instance}")
    alarm = f'module.monitoring.aws_cloudwatch_metric_alarm.status["{name}"]'
    again = {a for a in of_member(name) if "attachment" in a} | {instance}
    equal(changes, {**{a: ["delete", "create"] for a in again}, alarm: ["update"]}, "changes")
    stand.apply()
    after = stand.members()
    expect(after[name].pop("leeward_instance") != before[name].pop("leeward_instance"), "the instance is the old one")
    equal(after, before, "addresses, volumes, and the other members")
    stand.states.clear()
    everything_runs()
    equal(stand.plan(), {}, "changes in a second plan")


def another_size_destroys_nothing():
    """Also takes the protection off, which the end needs: one apply for both."""
    stand = deployment.stand
    before = {a: v["id"] for a, kind, v in resources(stand.state()) if kind in PRECIOUS}
    expect(len(before) > 30, f"only {len(before)} resources to look after")
    stand.write_variables(primary=5, dr=5, instance_type="m6i.xlarge", data_volume_gib=80, deletion_protection=False)
    equal({a: w for a, w in stand.plan().items() if w != ["update"]}, {}, "changes other than in place")
    stand.apply()
    after = {a: v["id"] for a, kind, v in resources(stand.state()) if kind in PRECIOUS}
    equal(after, before, "volumes, keys, buckets, balancers and instances")
    for region in (PRIMARY, DR):
        types = [i["InstanceType"] for i in stand.instances(region).values()]
        equal(types.count("m6i.xlarge"), 5, f"members of the new size in {region}")
        sizes = [v["Size"] for v in stand.client("ec2", region).describe_volumes()["Volumes"]]
        equal(sizes.count(80), 5, f"data volumes of the new size in {region}")


def fewer_members_take_only_what_was_theirs():
    stand = deployment.stand
    before = stands(stand.state())
    gone = {a for name in JOINING for a in of_member(name)}
    stand.write_variables(instance_type="m6i.xlarge", data_volume_gib=80, deletion_protection=False)
    equal(stand.plan(), {**{a: ["delete"] for a in gone}, **COUNTED}, "changes")
    stand.apply()
    equal(stands(stand.state()), {a: i for a, i in before.items() if a not in gone}, "what is left")
    for region in (PRIMARY, DR):
        equal(len(stand.instances(region)), 4, f"members and monitoring of {region}")
    everything_runs()
    equal(stand.plan(), {}, "changes in a second plan")


def locked_backups_and_their_key_outlive_a_destroy():
    stand, bucket, key = deployment.stand, f"{NAME}-dr-backup-123456789012", "daily/1"
    s3 = stand.client("s3", DR)
    version = s3.put_object(Bucket=bucket, Key=key, Body=b"a snapshot")["VersionId"]
    _, text = stand.change("destroy", codes=(1,))
    expect("BucketNotEmpty" in text, text[-4000:])
    kept = {"module.backup_dr.aws_s3_bucket.this", "module.backup_key.aws_kms_key.this", "module.backup_key.aws_kms_replica_key.this"}
    equal(set(stands(stand.state())), kept, "what there is")
    equal(s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read(), b"a snapshot", "the backup")
    state = {v["key_id"]: r for r, place in ((PRIMARY, "aws_kms_key"), (DR, "aws_kms_replica_key")) for v in of_type(stand.state(), place).values()}
    for name, region in state.items():
        equal(stand.client("kms", region).describe_key(KeyId=name)["KeyMetadata"]["KeyState"], "Enabled", f"its key in {region}")
    try:
        s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
        raise AssertionError("a locked version was deleted")
    except s3.exceptions.ClientError as refusal:
        equal(refusal.response["Error"]["Code"], "AccessDenied", "deleting a locked version")
    s3.delete_object(Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True)  # in place of the days of the lock


def destroying_leaves_nothing_behind():
    stand = deployment.stand
    stand.change("destroy")
    equal(resources(stand.state()), [], "what Terraform still knows")
    buckets = [b["Name"] for b in stand.client("s3", DR).list_buckets()["Buckets"]]
    equal(sorted(b for b in buckets if "-state-" not in b), [], "buckets")
    for region in (PRIMARY, DR):
        ec2 = stand.client("ec2", region)
        left = {
            "instances": list(stand.instances(region)), "volumes": ec2.describe_volumes()["Volumes"],
            "networks": [v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]],
            "balancers": stand.client("elbv2", region).describe_load_balancers()["LoadBalancers"],
            "alarms": stand.client("cloudwatch", region).describe_alarms()["MetricAlarms"],
            "addresses": ec2.describe_addresses()["Addresses"],
            "secrets": stand.client("secretsmanager", region).list_secrets()["SecretList"],
            "log groups": stand.client("logs", region).describe_log_groups()["logGroups"],
        }
        equal({kind: found for kind, found in left.items() if found}, {}, f"left in {region}")
    equal(stand.client("cloudwatch", WITNESS).describe_alarms()["MetricAlarms"], [], f"alarms left in {WITNESS}")
    for region in (PRIMARY, DR, WITNESS):  # until their notice has run out
        kms = stand.client("kms", region)
        keys = [kms.describe_key(KeyId=k["KeyId"])["KeyMetadata"] for k in kms.list_keys()["Keys"]]
        states = {k["KeyState"] for k in keys if k["KeyManager"] == "CUSTOMER" and f"{NAME}: " in k["Description"] and "state" not in k["Description"]}
        equal(states, {"PendingDeletion"}, f"keys of {region}")
    iam = stand.client("iam", DR)
    equal([r["RoleName"] for r in iam.list_roles()["Roles"] if r["RoleName"].startswith(NAME) and "-state-" not in r["RoleName"]], [], "roles")


def the_state_goes_last_and_only_when_it_was_emptied():
    stand, s3 = deployment.stand, deployment.stand.client("s3", DR)
    destroy = ("destroy", "-no-color", "-auto-approve")
    bucket = f"{NAME}-state-123456789012"
    _, text = stand.terraform(*destroy, folder="environments/state", codes=(1,))
    expect("BucketNotEmpty" in text, text[-4000:])
    found = s3.list_object_versions(Bucket=bucket)
    for version in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    stand.terraform(*destroy, folder="environments/state")
    equal(s3.list_buckets()["Buckets"], [], "buckets")
