"""What judges image and chart: helm, kubeconform, hadolint and schemas of Kubernetes' objects and of others that the chart makes.

Pinned here and in tools/go.mod, built or laid out once under build/containers.
"""
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import yaml

from leeward.cluster import ROOT
from leeward.venv import Missing

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(ROOT, "build", "containers")
HELM, KUBECONFORM = os.path.join(BUILD, "helm"), os.path.join(BUILD, "kubeconform")
HADOLINT = os.path.join(os.path.dirname(sys.executable), "hadolint")

# The lowest that Chart.yaml names, and the newest that there are schemas of.
KUBERNETES = ("1.27.0", "1.37.0")
# A helm without a Kubernetes to ask takes it for this one.
ASSUMED = "1.33"
OWN_KINDS = {
    "configmap-v1.json": "io.k8s.api.core.v1.ConfigMap",
    "service-v1.json": "io.k8s.api.core.v1.Service",
    "statefulset-apps-v1.json": "io.k8s.api.apps.v1.StatefulSet",
    "poddisruptionbudget-policy-v1.json": "io.k8s.api.policy.v1.PodDisruptionBudget",
    "networkpolicy-networking-v1.json": "io.k8s.api.networking.v1.NetworkPolicy",
}
# Module at version: where its definitions are.
DEFINITIONS = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml",
    "github.com/cert-manager/cert-manager@v1.21.2": "deploy/crds/cert-manager.io_{}.yaml",
}
KINDS = ("servicemonitors", "prometheusrules", "probes", "certificates")


def go(*arguments):
    done = subprocess.run([os.path.join(ROOT, "scripts", "go"), *arguments], cwd=os.path.join(HERE, "tools"), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"needs Go and its module proxy; go {arguments[0]} in tests/containers/tools failed:\n{done.stderr[-2000:]}")
    return done.stdout


def prepare():
    """Errors: Missing."""
    os.makedirs(BUILD, exist_ok=True)
    if not all(os.access(tool, os.X_OK) for tool in (HELM, KUBECONFORM)):
        major, minor = ASSUMED.split(".")
        flags = " ".join(f"-X helm.sh/helm/v3/pkg/{package}.k8sVersion{part}={value}" for package in ("chartutil", "lint/rules")
                         for part, value in (("Major", major), ("Minor", minor)))
        go("build", "-ldflags", flags, "-o", BUILD + "/", "helm.sh/helm/v3/cmd/helm", "github.com/yannh/kubeconform/cmd/kubeconform")
    recipe = hashlib.sha256(repr((KUBERNETES, OWN_KINDS, DEFINITIONS, KINDS)).encode()).hexdigest()[:12]
    made = os.path.join(BUILD, f"schemas-{recipe}")
    if not os.path.isdir(made):
        for old in glob.glob(os.path.join(BUILD, "schemas-*")):
            shutil.rmtree(old)
        lay_out_schemas(made + ".new")
        os.rename(made + ".new", made)
    return made


def lay_out_schemas(place):
    """One folder for each version of Kubernetes, as kubeconform looks for them."""
    import kubernetes_validate
    source = os.path.join(os.path.dirname(kubernetes_validate.__file__), "kubernetes-json-schema")
    shutil.rmtree(place, ignore_errors=True)
    for version in KUBERNETES:
        folder = os.path.join(place, f"v{version}-standalone-strict")
        os.makedirs(folder)
        with open(os.path.join(source, f"v{version}-local-strict", "_definitions.json"), encoding="utf-8") as file:
            known = json.load(file)["$defs"]
        for name, kind in OWN_KINDS.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                json.dump(standalone(kind, known), file)
    for module, pattern in DEFINITIONS.items():
        folder = json.loads(go("mod", "download", "-json", module))["Dir"]
        for path in glob.glob(os.path.join(folder, pattern.format("*"))):
            if path.endswith(tuple(f"_{kind}.yaml" for kind in KINDS)):
                lay_out_definition(path, place)


def standalone(kind, known):
    """The schema of a kind, with all that it refers to beside it."""
    found, waiting = {}, [kind]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        text = json.dumps(known[name])
        waiting += re.findall(r'"[^"]*#/\$defs/([^"]+)"', text)
        found[name] = json.loads(re.sub(r'"[^"]*#/\$defs/([^"]+)"', r'"#/definitions/\1"', text))
    return {"$ref": f"#/definitions/{kind}", "definitions": found}


def lay_out_definition(path, place):
    with open(path, encoding="utf-8") as file:
        definition = yaml.safe_load(file)["spec"]
    for version in definition["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        name = f"{definition['names']['kind']}-{definition['group'].split('.')[0]}-{version['name']}.json".lower()
        for kubernetes in KUBERNETES:
            with open(os.path.join(place, f"v{kubernetes}-standalone-strict", name), "w", encoding="utf-8") as file:
                json.dump(schema, file)


def strict(schema):
    """What the definition does not name is refused, as Kubernetes warns of it."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {name: strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and "additionalProperties" not in schema:
        if not schema.get("x-kubernetes-preserve-unknown-fields") and set(schema["properties"]) - {"metadata"}:
            out["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    return out


def quiet(text):
    """Without the lines by which helm says that files/ leads elsewhere."""
    return "\n".join(line for line in text.splitlines() if not re.match(r"walk\.go:\d+: found symbolic link", line))
