"""What a promotion stands on: the name that follows it, backups that survive, and nothing of the lost region."""
import fnmatch
import json

from leeward.claims import equal, expect
import deployment
from deployment import DR, NAME, PRIMARY, of_type, resources
from route53 import Route53
import workspace

# What /primary answers in each region as the checkers hear it, and where the name must lead.
SITUATIONS = {
    "all well": ({"primary": 200, "dr": 503}, "primary"),
    "primary dark, not promoted": ({"primary": None, "dr": 503}, "primary"),
    "promoted": ({"primary": None, "dr": 200}, "dr"),
    "promoted, the old primary still answers": ({"primary": 200, "dr": 200}, "dr"),
    "old region back, fenced": ({"primary": 503, "dr": 200}, "dr"),
    "switched home": ({"primary": 200, "dr": 503}, "primary"),
    "checker blind": ({"primary": None, "dr": None}, "primary"),
}


def follows(state, names, health, write_group, record):
    route53 = Route53(state, names, health, write_group)
    answers = {situation: route53.answer(record, heard) for situation, (heard, _) in SITUATIONS.items()}
    equal(answers, {situation: wanted for situation, (_, wanted) in SITUATIONS.items()}, "where the name leads")


def balancers(state):
    """Names of the members' balancers by region, those of health checks, and the standby's group for writes."""
    names = {v["dns_name"]: role for role, place in (("primary", "module.cluster."), ("dr", "module.dr."))
             for v in of_type(state, "aws_lb", place).values()}
    health = [v["dns_name"] for v in of_type(state, "aws_lb", "module.dns").values()]
    group = next(v["arn_suffix"] for a, v in of_type(state, "aws_lb_target_group", "module.dr.").items() if '["write"]' in a)
    equal(sorted(names.values()), ["dr", "primary"], "balancers")
    return names, health, group


def the_public_name_follows_the_role_in_all_seven_situations():
    state = deployment.stand.state()
    names, health, group = balancers(state)
    follows(state, names, health, group, "leeward.example.com")
    # What the checkers ask is the standby region's, and they alone come in.
    ec2 = deployment.stand.client("ec2", DR)
    door = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"{NAME}-dr-health"]}])["SecurityGroups"][0]
    checkers = ec2.describe_managed_prefix_lists(Filters=[{"Name": "prefix-list-name", "Values": [f"com.amazonaws.{DR}.route53-healthchecks"]}])
    equal([(p["PrefixListIds"], p["IpRanges"]) for p in door["IpPermissions"]],
          [([{"PrefixListId": checkers["PrefixLists"][0]["PrefixListId"]}], [])], "who reaches the health checks")


def the_private_name_follows_the_role_in_all_seven_situations():
    """The module alone, with one VPC: the stand-in knows no private zone of several."""
    stand, folder = deployment.stand, "modules/dns-failover"
    state = stand.state()
    names, _, group = balancers(state)
    by_role = {role: name for name, role in names.items()}
    vpc = next(iter(of_type(state, "aws_vpc", "module.dr.").values()))["id"]
    with open(f"{workspace.TREE}/{folder}/terraform.tfvars.json", "w", encoding="utf-8") as file:
        json.dump({
            "name": f"{NAME}-dr", "mode": "private", "record_name": "leeward.internal.example",
            "private_zone": {"name": "internal.example", "vpcs": [{"vpc_id": vpc, "region": DR}]},
            "primary_target": by_role["primary"],
            "dr": {"target": by_role["dr"], "load_balancer": "net/leeward-dr/1", "write_target_group": group, "vpc_id": vpc,
                   "public_subnets": [], "instances": {}, "member_security_group_id": "sg-1"},
        }, file)
    environment = stand.environment(AWS_REGION=DR)
    workspace.init(folder, env=environment)
    for word in ("apply", "destroy"):
        workspace.terraform(folder, word, "-no-color", "-auto-approve", env=environment)
        if word == "apply":
            made = workspace.terraform_json(folder, "show", "-json", env=environment)
            expect(not of_type(made, "aws_lb") and not of_type(made, "aws_security_group"), "private mode opens a door")
            follows(made, names, [], group, "leeward.internal.example")


def matches(patterns, value):
    return any(fnmatch.fnmatchcase(value, p) for p in ([patterns] if isinstance(patterns, str) else patterns))


def allowed(policies, action, resource):
    """IAM's rule: an explicit denial wins, else some statement must allow. Conditions are taken as met."""
    hits = [s["Effect"] for p in policies for s in ([p["Statement"]] if isinstance(p["Statement"], dict) else p["Statement"])
            if matches(s["Action"], action) and matches(s["Resource"], resource)]
    return "Allow" in hits and "Deny" not in hits


def whoever_backs_up_may_put_and_never_delete_or_shorten():
    for region, short, other in ((PRIMARY, "pri", "dr"), (DR, "dr", "pri")):
        iam = deployment.stand.client("iam", region)
        role = f"{NAME}-{short}-member"
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        equal(sorted(names), ["backup-reader", "backup-writer", "session"], f"policies of {role}")
        policies = [iam.get_role_policy(RoleName=role, PolicyName=n)["PolicyDocument"] for n in names]
        own, far = (f"arn:aws:s3:::{NAME}-{which}-backup-123456789012" for which in (short, other))
        for prefix in ("hourly", "daily", "weekly"):
            expect(allowed(policies, "s3:PutObject", f"{own}/{prefix}/1"), f"{role} may not put under {prefix}/")
        expect(allowed(policies, "s3:GetObject", f"{own}/daily/1"), f"{role} may not restore")
        expect(not allowed(policies, "s3:PutObject", f"{own}/elsewhere"), f"{role} may put anywhere")
        expect(not allowed(policies, "s3:PutObject", f"{far}/daily/1"), f"{role} may write into the other region's bucket")
        # Nor would another policy of the role, however wide, let it.
        wide = [*policies, {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}]
        for action in ("DeleteObject", "DeleteObjectVersion", "PutObjectRetention", "PutObjectLegalHold", "BypassGovernanceRetention"):
            for bucket in (own, far):
                expect(not allowed(wide, f"s3:{action}", f"{bucket}/daily/1"), f"{role} may {action}")
        for action in ("PutLifecycleConfiguration", "PutBucketVersioning", "PutBucketPolicy", "DeleteBucketPolicy", "DeleteBucket",
                       "PutBucketObjectLockConfiguration", "PutReplicationConfiguration", "PutEncryptionConfiguration"):
            expect(not allowed(wide, f"s3:{action}", own), f"{role} may {action}")


def backups_are_locked_versioned_encrypted_and_copied():
    state = deployment.stand.state()
    keys = {v["arn"] for a, kind, v in resources(state) if kind in ("aws_kms_key", "aws_kms_replica_key") and "backup_key" in a}
    for region, short, other in ((PRIMARY, "pri", "dr"), (DR, "dr", "pri")):
        s3, bucket = deployment.stand.client("s3", region), f"{NAME}-{short}-backup-123456789012"
        lock = s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
        retention = lock["Rule"]["DefaultRetention"]
        equal((lock["ObjectLockEnabled"], retention["Mode"], retention["Days"]), ("Enabled", "GOVERNANCE", 7), f"lock of {bucket}")
        equal(s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled", f"versions of {bucket}")
        rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
        expect(rule["KMSMasterKeyID"] in keys and f":{region}:" in rule["KMSMasterKeyID"], f"{bucket} is encrypted by {rule}")
        rules = s3.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]["Rules"]
        equal([(r["Destination"]["Bucket"], r["DeleteMarkerReplication"]["Status"]) for r in rules],
              [(f"arn:aws:s3:::{NAME}-{other}-backup-123456789012", "Disabled")], f"copy of {bucket}")
        times = {r["ID"]: (r["Expiration"]["Days"], r["NoncurrentVersionExpiration"]["NoncurrentDays"])
                 for r in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
        equal(times, {"hourly": (7, 30), "daily": (35, 30), "weekly": (400, 30)}, f"times of {bucket}")


def strings(value, path=""):
    """Every string of a nested value, with where it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from strings(inner, f"{path}[{index}]")
    elif isinstance(value, str):
        yield path, value


# Of what stands in the standby region, all that may name something of the primary one, and why it is not needed.
LINKS = {
    "aws_kms_replica_key": "names the key that it was copied from; it is used without it",
    "aws_secretsmanager_secret": "the copy that goes there",
    "aws_s3_bucket_replication_configuration": "backups that go there",
    "aws_iam_role_policy": "the right to copy backups there, and that members may not delete them there",
    "aws_route53_record": "the record that leads there while it is primary",
}


def nothing_that_promotion_needs_stands_in_the_primary_region():
    stand = deployment.stand
    state = stand.state()
    inventory = stand.output("inventory")["all"]["children"]
    touched = {"promotion_needs": stand.output("promotion_needs"), "hosts": inventory["leeward"]["children"]["dr"],
               "monitoring": inventory["monitoring"]["children"]["monitoring_dr"], "dns_name": stand.output("dns_name"),
               "state": open(f"{workspace.TREE}/{deployment.FOLDER}/backend.tf", encoding="utf-8").read()}
    ours = ("module.dr.", "module.monitoring_dr.", "module.backup_dr.", "module.dns", "module.secrets.",
            "module.data_key.aws_kms_replica_key", "module.backup_key.aws_kms_replica_key")
    theirs = {v[name] for a, _, v in resources(state) if a.startswith(("module.network.", "module.cluster.", "module.monitoring.", "module.backup."))
              for name in ("id", "arn") if len(v.get(name) or "") > 8}
    expect(len(theirs) > 80, f"only {len(theirs)} names of the primary region are known")

    def leads_there(text):
        return PRIMARY in text or any(name in text for name in theirs)

    found = list(strings(touched))
    expect(len(found) > 40, f"only {len(found)} names, ARNs and endpoints to look at")
    equal([f"{path} = {text}" for path, text in found if leads_there(text)], [], "what would be gone with the primary region")
    linked = {kind for a, kind, v in resources(state) if a.startswith(ours) and any(leads_there(text) for _, text in strings(v))}
    equal(linked, set(LINKS), "kinds of resources in the standby region that name the primary one")
    # Everything in promotion_needs that has a region names this one.
    arns = [text for _, text in strings(touched["promotion_needs"]) if text.startswith("arn:") and text.split(":")[3]]
    equal({arn.split(":")[3] for arn in arns}, {DR}, "regions of the ARNs")
