"""The chart: rendered with sets of values as operators would give them, judged by schemas, and what must stand in its objects."""
import functools
import glob
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile

import yaml

import boxes
import tooling
from leeward.claims import equal, expect
from leeward.cluster import ROOT

CHART = os.path.join(ROOT, "packaging", "helm", "leeward")
EAST, WEST = ([f"{region}-{n}.leeward.example.com" for n in range(7)] for region in ("east", "west"))
ISSUER = {"name": "nodes", "kind": "ClusterIssuer"}
PAIR = {"region": "east", "other": {"region": "west", "hosts": WEST[:3]}, "external": {"hosts": EAST[:3]}}
STANDBY = {"role": "standby", "region": "west", "firstId": 11, "other": {"region": "east", "firstId": 1, "hosts": EAST[:3]},
           "external": {"hosts": WEST[:3], "services": True, "sourceRanges": ["10.1.0.0/16"], "annotations": {"example.com/internal": "true"}}}
TLS = {"tls": {"issuerRef": ISSUER, "peerIssuerRef": {**ISSUER, "name": "peers"}}}
SETS = {
    "one region": {},
    "one member": {"replicas": 1, "spread": "preferred"},
    "active": PAIR,
    "standby": STANDBY,
    "five members": {**PAIR, "replicas": 5, "external": {"hosts": EAST[:5]}},
    "two members join": {**PAIR, "replicas": 5, "initialReplicas": 3, "external": {"hosts": EAST[:5], "services": True}},
    "two members join a standby": {**STANDBY, "replicas": 5, "initialReplicas": 3, "external": {"hosts": WEST[:5]}},
    "tls by cert-manager": {**PAIR, **TLS},
    "tls of one secret, addresses": {**PAIR, "tls": {"secretName": "mine", "clientAuth": "optional"}, "external": {"hosts": ["10.1.0.1", "10.1.0.2", "10.1.0.3"]}},
    "tls of one issuer, addresses": {**PAIR, "tls": {"issuerRef": ISSUER, "peerSecretName": "peers", "operatorSecretName": "ops"}, "config": {"admin": {"operators": ["ops"]}}, "external": {"hosts": ["10.1.0.1", "10.1.0.2", "10.1.0.3"]}},
    "watched": {**PAIR, **TLS, "monitoring": {"enabled": True, "labels": {"release": "prometheus"}, "prober": "blackbox:9115",
                                              "runbooks": "https://wiki.example/leeward", "grafana": "https://boards.example"}},
    "closed": {**STANDBY, "networkPolicy": {"enabled": True, "otherRegion": ["10.1.0.0/16"], "monitoring": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
                                            "clients": [{"podSelector": {"matchLabels": {"app": "shop"}}, "namespaceSelector": {}}]}},
    "tuned": {**PAIR, "config": {"storage": {"quota": "8GiB", "checkpoint_interval": 1000000, "rocksdb": {"block_cache": "256MiB", "background_jobs": 4}},
                                 "dr": {"max_lag": "2s", "auto_rejoin": True}, "admin": {"operators": ["ops", "on \"call\""]}, "telemetry": {"sample_ratio": 0.25},
                                 "compaction": {"mode": "periodic"}},
              "storage": {"data": {"size": "100Gi", "className": "fast"}, "wal": {"size": "40Gi"}, "accessMode": "ReadWriteOncePod"},
              "nodeSelector": {"disk": "nvme"}, "tolerations": [{"key": "stateful", "operator": "Exists"}], "priorityClassName": "system",
              "image": {"repository": "mirror/leeward", "tag": "0.1.0-2", "pullSecrets": [{"name": "pull"}]},
              "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
}


def helm(*arguments, values=None, chart=CHART):
    """(exit code, output, errors) of helm over the chart with those values."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values or {}, file)
        done = subprocess.run([tooling.HELM, *arguments, chart, "--values", file.name], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, tooling.quiet(done.stderr)


@functools.lru_cache(None)
def rendered(values, release):
    code, text, said = helm("template", release, "--namespace", "stores", values=json.loads(values))
    equal((code, said), (0, ""), f"helm template with {values}")
    return text


def objects(values, release="leeward"):
    """{(kind, name): object}"""
    found = {}
    for each in yaml.safe_load_all(rendered(json.dumps(values), release)):
        if each:
            key = each["kind"], each["metadata"]["name"]
            expect(key not in found, f"{key} twice")
            found[key] = each
    return found


def one(values, kind, release="leeward"):
    found = [each for (of, _), each in objects(values, release).items() if of == kind]
    equal(len(found), 1, f"objects of kind {kind}")
    return found[0]


def pod_of(values):
    return one(values, "StatefulSet")["spec"]["template"]["spec"]


def configurations(values, release="leeward"):
    """{pod: leeward.toml}"""
    return {name.removesuffix(".toml"): text for name, text in objects(values, release)["ConfigMap", release]["data"].items()}


def each_set():
    for name, values in SETS.items():
        yield name, values, one(values, "StatefulSet")


# Judged by others

def helm_finds_nothing_to_say():
    for name, values in SETS.items():
        code, said, errors = helm("lint", "--strict", values=values)
        expect(code == 0 and "[WARNING]" not in said and not errors, f"{name}: {said}{errors}")


def every_object_is_of_its_schema_in_the_oldest_and_the_newest_kubernetes():
    with tempfile.TemporaryDirectory() as folder:
        for name, values in SETS.items():
            with open(os.path.join(folder, name.replace(" ", "-") + ".yaml"), "w", encoding="utf-8") as file:
                file.write(rendered(json.dumps(values), "leeward"))
        for version in tooling.KUBERNETES:
            location = os.path.join(tooling.prepare(), "{{.NormalizedKubernetesVersion}}-standalone{{.StrictSuffix}}", "{{.ResourceKind}}{{.KindSuffix}}.json")
            command = [tooling.KUBECONFORM, "-strict", "-summary", "-output", "json", "-kubernetes-version", version, "-schema-location", location]
            done = subprocess.run([*command, folder], capture_output=True, text=True, timeout=120, check=False)
            told = json.loads(done.stdout)
            equal((done.returncode, told["resources"]), (0, []), f"in Kubernetes {version}")
            expect(told["summary"]["valid"] >= 6 * len(SETS) and not told["summary"]["skipped"], f"judged were {told['summary']}")
            # And it sees a key that does not exist, of Kubernetes' objects and of others'.
            for kind in ("StatefulSet", "ServiceMonitor", "Certificate"):
                broken = one(SETS["watched"], kind) if kind != "Certificate" else objects(SETS["watched"])["Certificate", "leeward-peer"]
                broken = {**broken, "spec": {**broken["spec"], "nonsense": 1}}
                done = subprocess.run([*command, "-"], input=yaml.safe_dump(broken), capture_output=True, text=True, timeout=60, check=False)
                expect(done.returncode == 1 and "nonsense" in done.stdout, f"{kind} with nonsense passes: {done.stdout}")


def the_daemon_accepts_the_configuration_of_every_pod():
    with tempfile.TemporaryDirectory() as folder:
        boxes.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{folder}/tls.key", "-out",
                  f"{folder}/tls.crt", "-days", "30", "-subj", "/CN=node")
        shutil.copy(f"{folder}/tls.crt", f"{folder}/ca.crt")
        for name, values, workload in each_set():
            found = configurations(values)
            equal(len(found), workload["spec"]["replicas"], f"{name}: configurations")
            for pod, text in found.items():
                text = re.sub("/etc/leeward-tls/(server|peer)", folder, text)
                for zone in ("", "zone-c"):
                    code, said = boxes.check(text, {"LEEWARD_NODE_ZONE": zone})
                    equal(code, 0, f"{name}: {pod} in zone {zone!r}: {said}")
                said = [line for line in said.splitlines() if "is reachable from outside and plain" not in line]
                expect("tls" not in values or said == ["configuration is valid"], f"{name}: {pod}: {said}")


def both_releases_name_the_same_members():
    """Ids, names and roles."""
    def members(toml):
        return re.findall(r'\{ id = (\d+), name = "([^"]+)", .*region = "([^"]+)" \}', toml)
    lists = {frozenset(members(text)) for values in (PAIR, STANDBY) for text in configurations(values).values()}
    equal(len(lists), 1, "lists of members")
    equal(sorted(int(number) for number, _, _ in lists.pop()), [1, 2, 3, 11, 12, 13])
    for values, own in ((PAIR, range(1, 4)), (STANDBY, range(11, 14))):
        for number, text in zip(own, configurations(values).values()):
            expect(f"id = {number}\n" in text, f"{number} is not the id of {text[:60]}")
            standby = text[text.index("[standby]"):text.index("[admin]")]
            expect('region = "west"' in standby and "id = 11" in standby and "id = 1," not in standby, standby)


def a_member_has_one_name_in_both_regions():
    def addresses(values):
        return {frozenset(re.findall(r'id = (\d+), .* peer = "([^"]+)", client = "([^"]+)"', text)) for text in configurations(values).values()}
    equal(addresses(PAIR), addresses(STANDBY), "addresses as either region has them")
    expect("leeward-0.leeward-peers.stores.svc:2380" in configurations({})["leeward-0"], "one region alone has other names")


def members_that_are_added_join():
    for name, place in (("two members join", "cluster"), ("two members join a standby", "standby")):
        for n, text in enumerate(configurations(SETS[name]).values()):
            own = text[text.index(f"[{place}]"):]
            own = own[:own.index("\n]\n")]
            equal(('bootstrap = "join"' in text, own.count("{ id =")), (n > 2, 3 + (n > 2)), f"{name}: pod {n} joins, members of its own region that it names")


def settings_reach_the_file_as_toml_has_them():
    text = configurations(SETS["tuned"])["leeward-2"]
    for line in ("checkpoint_interval = 1000000", "rocksdb.background_jobs = 4", 'rocksdb.block_cache = "256MiB"', "auto_rejoin = true", "sample_ratio = 0.25",
                 'operators = ["ops","on \\"call\\""]', 'socket = "/run/leeward/admin.sock"', 'wal_dir = "/var/lib/leeward-wal"'):
        expect(f"\n{line}\n" in text + "\n", f"no line {line} in:\n{text}")


# Values that do not fit

REFUSED = {
    "an even number of members": ({"replicas": 4}, r"/replicas.* one of 1, 3, 5, 7"),
    "more members than may vote": ({"replicas": 9}, r"/replicas.* one of 1, 3, 5, 7"),
    "a number that is a word": ({"replicas": "three"}, r"/replicas.* one of 1, 3, 5, 7"),
    "an unknown role": ({"role": "primary"}, r"/role.* one of 'active', 'standby'"),
    "a key that does not exist": ({"replica": 3}, r"'replica' not allowed"),
    "an unknown key further down": ({"storage": {"data": {"class": "x"}}}, r"/storage/data.*'class' not allowed"),
    "a secret that is a number": ({"tls": {"secretName": 3}}, r"/tls/secretName.* want string"),
    "a section that the chart writes itself": ({"config": {"cluster": {"name": "x"}}}, r"'cluster'(?s:.*) one of 'raft'"),
    "a size without a unit": ({"storage": {"data": {"size": "25"}}}, r"/storage/data/size.* pattern"),
    "an update that does not exist": ({"updateStrategy": {"type": "Recreate"}}, r"/updateStrategy/type.* one of 'RollingUpdate', 'OnDelete'"),
    "a range that is none": ({"networkPolicy": {"otherRegion": ["west"]}}, r"/networkPolicy/otherRegion/0.* pattern"),
    "both regions of one name": ({**PAIR, "region": "west"}, r'both "west": a standby protects .* only from another one'),
    "a standby of nobody": ({"role": "standby"}, r"other\.hosts is empty: list the members of the active region"),
    "another region without a name": ({"other": {"hosts": WEST[:3]}}, r"other\.region is not: name the other region"),
    "ids that both regions have": ({**PAIR, "firstId": 10}, r"ids 10 to 12 of this region and 11 to 13 of the other one overlap"),
    "fewer names than members": ({**PAIR, "replicas": 5}, r"names 3 members and replicas is 5"),
    "two sources of certificates": ({"tls": {"secretName": "a", "issuerRef": ISSUER}}, r"both set"),
    "TLS of one port alone": ({"tls": {"peerSecretName": "a"}}, r"for all ports or for none"),
    "more members to begin with than there are": ({"replicas": 3, "initialReplicas": 5}, r"remove members by leewardctl, then lower both"),
}


def values_that_do_not_fit_are_refused_by_a_sentence():
    for name, (values, words) in REFUSED.items():
        code, _, said = helm("template", "leeward", values=values)
        expect(code == 1 and re.search(words, said), f"{name}: exit {code}, {said}")


# What must stand in the objects

def a_pod_lives_by_livez_and_serves_by_readyz():
    for name, values, _ in each_set():
        container, = pod_of(values)["containers"]
        probe = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        equal([probe[kind]["path"] for kind in ("startup", "liveness", "readiness")], ["/livez", "/livez", "/readyz"], name)
        scheme = "HTTPS" if "tls" in values else "HTTP"
        equal({each["scheme"] for each in probe.values()}, {scheme}, name)
        expect(all(each["port"] == "admin" for each in probe.values()), f"{name}: {probe}")
        startup = container["startupProbe"]
        expect(startup["periodSeconds"] * startup["failureThreshold"] >= 60, f"{name}: a start has {startup}")


def members_find_each_other_before_any_is_ready_and_begin_together():
    for name, values, workload in each_set():
        service = objects(values)["Service", workload["spec"]["serviceName"]]["spec"]
        equal((service["clusterIP"], service["publishNotReadyAddresses"], workload["spec"]["podManagementPolicy"]), ("None", True, "Parallel"), name)
        equal(service["selector"], workload["spec"]["selector"]["matchLabels"], name)
        expect("publishNotReadyAddresses" not in objects(values)["Service", "leeward"]["spec"], f"{name}: clients are sent to members that are not ready")


def no_two_members_share_a_node_and_zones_are_even():
    for name, values, workload in each_set():
        pod, selector = pod_of(values), workload["spec"]["selector"]
        zone, = pod["topologySpreadConstraints"]
        affinity = pod["affinity"]["podAntiAffinity"]
        preferred = [term["podAffinityTerm"] for term in affinity["preferredDuringSchedulingIgnoredDuringExecution"]]
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
        terms = [zone, *preferred, *required]
        expect(all(term["labelSelector"] == selector for term in terms), f"{name}: not of these pods: {terms}")
        equal((zone["topologyKey"], zone["maxSkew"], [term["topologyKey"] for term in preferred]),
              ("topology.kubernetes.io/zone", 1, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]), name)
        strict = values.get("spread") != "preferred"
        equal((zone["whenUnsatisfiable"], [term["topologyKey"] for term in required]),
              ("DoNotSchedule", ["kubernetes.io/hostname"]) if strict else ("ScheduleAnyway", []), name)


def one_member_at_a_time_is_taken_away():
    for name, values, workload in each_set():
        budget = one(values, "PodDisruptionBudget")["spec"]
        equal((budget["maxUnavailable"], budget["selector"]), (1, workload["spec"]["selector"]), name)
        equal(workload["spec"]["updateStrategy"], values.get("updateStrategy", {"type": "RollingUpdate"}), name)
        # As long as the unit of systemd: both know how long a stop takes.
        with open(os.path.join(ROOT, "packaging", "systemd", "leeward.service"), encoding="utf-8") as unit:
            stop = int(re.search(r"TimeoutStopSec=(\d+)s", unit.read()).group(1))
        equal(pod_of(values)["terminationGracePeriodSeconds"], stop, name)


def no_pod_has_rights_to_lose():
    image = boxes.Image()
    uid, gid = map(int, image.user.split(":"))
    for name, values, _ in each_set():
        pod = pod_of(values)
        container, = pod["containers"]
        outer, inner = pod["securityContext"], container["securityContext"]
        equal((outer["runAsNonRoot"], outer["runAsUser"], outer["fsGroup"], outer["seccompProfile"]), (True, uid, gid, {"type": "RuntimeDefault"}), name)
        equal(inner, {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name)
        equal((pod["automountServiceAccountToken"], pod["enableServiceLinks"]), (False, False), name)
        fixed = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        expect(fixed <= {*image.folders}, f"{name}: writes to {fixed}, and the image has {image.folders}")


def no_disk_goes_by_itself():
    for name, values, workload in each_set():
        equal(workload["spec"]["persistentVolumeClaimRetentionPolicy"], {"whenDeleted": "Retain", "whenScaled": "Retain"}, name)
        claims = {claim["metadata"]["name"]: claim["spec"] for claim in workload["spec"]["volumeClaimTemplates"]}
        equal(sorted(claims), ["data", "wal"] if name == "tuned" else ["data"], name)
        written = {path for text in configurations(values).values() for path in re.findall(r'^(?:data_dir|wal_dir) = "(.*)"', text, re.M)}
        claimed = {mount["mountPath"] for mount in pod_of(values)["containers"][0]["volumeMounts"] if mount["name"] in claims}
        equal(written, claimed, f"{name}: what the daemon writes to, and where the claims are")
    equal((claims["data"]["storageClassName"], claims["wal"].get("storageClassName"), claims["wal"]["accessModes"]), ("fast", None, ["ReadWriteOncePod"]))


def what_changes_no_setting_restarts_nobody():
    """More members, another chart over the same image, or monitoring: the pods' template is as it was."""
    before = pod_template(PAIR)
    for values in (SETS["two members join"], {**PAIR, "monitoring": {"enabled": True}}, {**PAIR, "networkPolicy": {"enabled": True}}):
        equal(pod_template(values), before, json.dumps(values))
    with tempfile.TemporaryDirectory() as folder:
        later = os.path.join(folder, "leeward")
        shutil.copytree(CHART, later, symlinks=False)
        with open(os.path.join(later, "Chart.yaml"), "r+", encoding="utf-8") as file:
            text = file.read().replace("\nversion: 0.1.0", "\nversion: 0.1.1")
            file.seek(0)
            file.write(text)
        _, text, _ = helm("template", "leeward", "--namespace", "stores", values=PAIR, chart=later)
        expect("leeward-0.1.1" in text, "it is the same chart")
        equal(next(each for each in yaml.safe_load_all(text) if each["kind"] == "StatefulSet")["spec"]["template"], before)
    expect(pod_template({**PAIR, "config": {"log": {"level": "debug"}}}) != before, "a setting that changes restarts nobody")


def pod_template(values):
    return one(values, "StatefulSet")["spec"]["template"]


def the_image_of_the_chart_is_the_daemons_version():
    version = subprocess.run([os.path.join(boxes.BIN, "leewardd"), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    equal(pod_of({})["containers"][0]["image"], f"leeward:{version}")
    with open(os.path.join(ROOT, "packaging", "container", "compose.yaml"), encoding="utf-8") as file:
        expect(f"LEEWARD_TAG:-{version}}}" in file.read(), "Compose names another version")


def certificates_name_each_way_to_a_member():
    for name, many in (("tls by cert-manager", 3), ("watched", 3)):
        for use in ("server", "peer"):
            made = objects(SETS[name])["Certificate", f"leeward-{use}"]["spec"]
            wanted = {f"leeward-{n}.leeward-peers.stores.svc" for n in range(many)} | {f"node-{n + 1}" for n in range(many)} | set(EAST[:many])
            expect(wanted | {"leeward.stores.svc", "localhost"} <= set(made["dnsNames"]), f"{name}: {made['dnsNames']}")
            equal(made["usages"][-2:], ["server auth", "client auth"], name)
        volumes = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in pod_of(SETS[name])["volumes"]}
        equal((volumes["server-tls"], volumes["peer-tls"], volumes["operator-tls"]), ("leeward-tls", "leeward-peer-tls", "leeward-operator-tls"), name)
        operator = objects(SETS[name])["Certificate", "leeward-operator"]["spec"]["commonName"]
        expect(f'operators = ["{operator}"]\n' in configurations(SETS[name])["leeward-0"], f"{name}: {operator} is no operator")
    equal(objects(SETS["tls of one issuer, addresses"])["Certificate", "leeward-server"]["spec"]["ipAddresses"], ["10.1.0.1", "10.1.0.2", "10.1.0.3"])
    expect(not [kind for kind, _ in objects(SETS["tls of one secret, addresses"]) if kind == "Certificate"], "a certificate beside the secret that is given")


def the_other_region_reaches_each_member_by_itself():
    for n in range(3):
        service = objects(STANDBY)["Service", f"leeward-{n}"]
        equal((service["spec"]["type"], service["spec"]["publishNotReadyAddresses"], service["spec"]["loadBalancerSourceRanges"],
               service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"], service["spec"]["externalTrafficPolicy"]),
              ("LoadBalancer", True, ["10.1.0.0/16"], f"leeward-{n}", "Local"))
        equal(service["metadata"]["annotations"], {"external-dns.alpha.kubernetes.io/hostname": WEST[n], "example.com/internal": "true"})


def only_who_is_named_reaches_a_port():
    policy = one(SETS["closed"], "NetworkPolicy")["spec"]
    equal((policy["policyTypes"], policy["podSelector"]), (["Ingress"], one(SETS["closed"], "StatefulSet")["spec"]["selector"]))
    reach = {}
    for rule in policy["ingress"]:
        for port, peer in itertools.product(rule["ports"], rule["from"]):
            reach.setdefault(port["port"], []).append(peer)
    members = [{"podSelector": policy["podSelector"]}, {"ipBlock": {"cidr": "10.1.0.0/16"}}]
    equal(reach, {2380: members, 2379: members + SETS["closed"]["networkPolicy"]["clients"], 8080: SETS["closed"]["networkPolicy"]["monitoring"],
                  9090: SETS["closed"]["networkPolicy"]["monitoring"]})
    without = one({"networkPolicy": {"enabled": True}}, "NetworkPolicy")["spec"]["ingress"]
    equal([rule["from"] for rule in without], [[{"podSelector": policy["podSelector"]}]], "nobody is named, and reaches it")


# Monitoring, of the sources that alerts/ and grafana/ hold

def rules_and_boards_are_those_of_their_folders():
    values = SETS["watched"]
    found = {name: each["spec"] for (kind, name), each in objects(values).items() if kind == "PrometheusRule"}
    sources = {os.path.basename(path): path for path in glob.glob(os.path.join(ROOT, "alerts", "rules-*.yaml"))}
    expect(len(sources) >= 8, f"sources are {sources}")
    equal(sorted(found), sorted("leeward-" + name.removeprefix("rules-").removesuffix(".yaml") for name in sources))
    for name, path in sources.items():
        with open(path, encoding="utf-8") as file:
            text = file.read().replace("https://leeward.example/runbooks", "https://wiki.example/leeward").replace("https://grafana.example", "https://boards.example")
        equal(found["leeward-" + name.removeprefix("rules-").removesuffix(".yaml")], yaml.safe_load(text), name)
    boards = objects(values)["ConfigMap", "leeward-dashboards"]
    equal(boards["metadata"]["labels"]["grafana_dashboard"], "1")
    sources = glob.glob(os.path.join(ROOT, "grafana", "dashboards", "*.json"))
    equal(sorted(boards["data"]), sorted(map(os.path.basename, sources)))
    for path in sources:
        with open(path, encoding="utf-8") as file:
            equal(json.loads(boards["data"][os.path.basename(path)]), json.loads(file.read().replace("https://leeward.example/runbooks", "https://wiki.example/leeward")), path)


def a_packed_chart_holds_them_itself():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([tooling.HELM, "package", CHART, "--destination", folder], capture_output=True, text=True, timeout=60, check=False)
        equal(done.returncode, 0, done.stderr)
        packed, = glob.glob(os.path.join(folder, "*.tgz"))
        code, text, said = helm("template", "leeward", "--namespace", "stores", values=SETS["watched"], chart=packed)
        equal((code, said), (0, ""))
        equal(text, rendered(json.dumps(SETS["watched"]), "leeward"))
        names = boxes.run("tar", "tzf", packed).split()
        expect(not [name for name in names if "/tests/" in name or "alertmanager" in name] and "leeward/README.md" in names, f"it holds {names}")


def targets_bear_the_labels_that_the_rules_know():
    values = SETS["watched"]
    monitor = one(values, "ServiceMonitor")
    endpoint, = monitor["spec"]["endpoints"]
    fixed = {rule["targetLabel"]: rule["replacement"] for rule in endpoint["relabelings"] if "targetLabel" in rule}
    equal(fixed, {"job": "leeward-etcd", "cluster": "leeward", "region": "east"})
    equal([rule["regex"] for rule in endpoint["relabelings"] if rule.get("action") == "labeldrop"], ["namespace|pod|container|endpoint|service"])
    service = [each["metadata"]["labels"] for (kind, _), each in objects(values).items()
               if kind == "Service" and monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()]
    equal(len(service), 1, "services that are scraped")
    equal((endpoint["port"], endpoint["scheme"], endpoint["tlsConfig"]["serverName"]), ("metrics", "https", "leeward.stores.svc"))
    probe = one(values, "Probe")["spec"]
    equal((probe["jobName"], probe["module"], probe["targets"]["staticConfig"]["labels"]), ("leeward-primary", "leeward_primary", {"cluster": "leeward", "region": "east"}))
    equal(probe["targets"]["staticConfig"]["static"][2], "https://leeward-2.leeward-peers.stores.svc:8080/primary")
    for kind in ("ServiceMonitor", "Probe"):
        equal(one(values, kind)["metadata"]["labels"]["release"], "prometheus")


def notes(values, release="leeward"):
    """What helm says after an installation: the same template, as data of an object, for a Kubernetes to install to is not to be had."""
    with tempfile.TemporaryDirectory() as folder:
        chart = os.path.join(folder, "leeward")
        shutil.copytree(CHART, chart, symlinks=True)
        shutil.rmtree(os.path.join(chart, "files"), ignore_errors=True)
        with open(os.path.join(chart, "templates", "NOTES.txt"), encoding="utf-8") as file:
            text = file.read()
        os.remove(os.path.join(chart, "templates", "NOTES.txt"))
        with open(os.path.join(chart, "templates", "notes.yaml"), "w", encoding="utf-8") as file:
            file.write('{{ define "notes" }}' + text + '{{ end }}\nkind: Notes\nmetadata: {name: notes}\ntext: {{ include "notes" . | toJson }}\n')
        code, out, said = helm("template", release, "--namespace", "stores", values=values, chart=chart)
        equal((code, said), (0, ""))
        return next(each["text"] for each in yaml.safe_load_all(out) if each and each["kind"] == "Notes")


def the_notes_say_what_is_left_to_type():
    said = notes(PAIR)
    expect("kubectl -n stores exec leeward-0 -- leewardctl cluster status" in said and f"hosts: {json.dumps(EAST[:3], separators=(',', ':'))}" in said, said)
    expect("member add" not in said and "WARNING:     plain" in said, said)
    said = notes({**SETS["two members join"], **TLS})
    for n in (3, 4):
        expect(f"member add {n + 1} --name east-{n} --region east --peer-url {EAST[n]}:2380 --client-url https://{EAST[n]}:2379\n" in said, said)
    expect("plain" not in said, said)
    for name, values in SETS.items():
        expect("<no value>" not in notes(values) and "%!" not in notes(values), f"{name}: {notes(values)}")
