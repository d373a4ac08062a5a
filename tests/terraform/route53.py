"""Works out what Route 53 answers, from the records, health checks and alarms of `terraform show -json`.

Rules of its failover routing: the first record while its check is healthy, else the second while its check is, else
the first.
"""
from deployment import resources


class Route53:
    """`names`: the balancer's name of each region's members, by which a check or a record tells which it means.
    `write_group`: the end of the ARN of the standby region's group for writes."""

    def __init__(self, state, names, dr_health_names, write_group):
        self.by_type = {}
        for _, kind, values in resources(state):
            self.by_type.setdefault(kind, []).append(values)
        self.names = names                      # balancer's name -> region
        self.dr_health_names = dr_health_names  # names that lead to /primary of the standby region
        self.write_group = write_group

    def answer(self, name, primary_of):
        """The balancer's name answered; primary_of: what `/primary` says by region, None where nobody hears it."""
        records = [r for r in self.by_type["aws_route53_record"] if r["name"] == name]
        by_role = {r["failover_routing_policy"][0]["type"]: r for r in records}
        assert len(records) == 2 and all(r["type"] == "CNAME" and r["ttl"] <= 30 for r in records), records
        for role in ("PRIMARY", "SECONDARY"):
            if self.healthy(by_role[role]["health_check_id"], primary_of):
                return self.names[by_role[role]["records"][0]]
        return self.names[by_role["PRIMARY"]["records"][0]]

    def healthy(self, check_id, primary_of):
        check = next(c for c in self.by_type["aws_route53_health_check"] if c["id"] == check_id)
        if check["type"] == "HTTPS":
            assert check["fqdn"] in self.dr_health_names and check["resource_path"] == "/primary", check
            status = primary_of["dr"]
            up = status is not None and 200 <= status < 400
        elif check["type"] == "CLOUDWATCH_METRIC":
            alarm = next(a for a in self.by_type["aws_cloudwatch_metric_alarm"] if a["alarm_name"] == check["cloudwatch_alarm_name"])
            up = self.alarm_is_quiet(alarm, check["insufficient_data_health_status"], primary_of)
        else:
            raise AssertionError(f"a check of type {check['type']}")
        return up != bool(check["invert_healthcheck"])

    def alarm_is_quiet(self, alarm, without_figures, primary_of):
        assert alarm["metric_name"] == "HealthyHostCount" and alarm["dimensions"]["TargetGroup"] == self.write_group, alarm
        assert alarm["treat_missing_data"] == "missing" and alarm["statistic"] == "Maximum", alarm
        if primary_of["dr"] is None:
            return without_figures == "Healthy"
        count = 3 if primary_of["dr"] == 200 else 0
        rings = {"GreaterThanOrEqualToThreshold": count >= alarm["threshold"],
                 "LessThanThreshold": count < alarm["threshold"]}[alarm["comparison_operator"]]
        return not rings
