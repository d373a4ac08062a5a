"""Where the suite works: Terraform, its provider, a copy of terraform/, a Python environment for AWS's stand-in.

A copy, because `init` writes into the folder it works in.
"""
import glob
import json
import os
import shutil
import signal
import subprocess

from leeward.venv import Missing

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SCRATCH = os.path.join(ROOT, "build", "terraform-test")
TREE = os.path.join(SCRATCH, "terraform")
OWN_TESTS = os.path.join(SCRATCH, "own-tests")  # a second copy: what is applied leaves settings and plugins behind
PROVIDER = "registry.terraform.io/hashicorp/aws"
# Where Terraform itself looks for providers, and where images of machines tend to keep them.
PLUGIN_PLACES = ("~/.terraform.d", "~/.local/share/terraform", "/usr/local/share/terraform", "/usr/share/terraform",
                 "/usr/local/lib/terraform", "/usr/lib/terraform", "/opt")


def find_mirror():
    """Root of a local mirror that holds version 5 of the AWS provider, or None: Terraform then asks its registry."""
    for place in (os.environ.get("TF_PLUGIN_CACHE_DIR", ""), *PLUGIN_PLACES):
        place = os.path.expanduser(place)
        for depth in ("", "*/", "*/*/", "*/*/*/"):
            found = place and sorted(glob.glob(f"{place}/{depth}{PROVIDER}/5.*/linux_amd64/terraform-provider-aws_v5*"))
            if found:
                return found[-1].split("/" + PROVIDER)[0]
    return None


def prepare():
    """Copies terraform/ and writes the command line's configuration. Errors: Missing."""
    if not shutil.which("terraform"):
        raise Missing("terraform is not on the PATH: install Terraform 1.11 or later (developer.hashicorp.com/terraform/install)")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    for copy in (TREE, OWN_TESTS):
        shutil.copytree(os.path.join(ROOT, "terraform"), copy, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*"))
    mirror = find_mirror()
    with open(os.path.join(SCRATCH, "terraformrc"), "w", encoding="utf-8") as file:
        file.write("disable_checkpoint = true\n")
        if mirror:
            file.write(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')


def environment(**more):
    """Of a Terraform that asks nothing, and knows no account but the one that is given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
    return {**kept, "TF_CLI_CONFIG_FILE": os.path.join(SCRATCH, "terraformrc"), "TF_IN_AUTOMATION": "1", "TF_INPUT": "0",
            "CHECKPOINT_DISABLE": "1", **more}


class Failed(Exception):
    """A command that ended otherwise than it should."""


def run(command, folder, env, timeout):
    """(exit code, output, errors). Whatever ends the suite ends the command with its providers: they are its group."""
    process = subprocess.Popen(command, cwd=os.path.join(TREE, folder), env=env, text=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, output, errors


def terraform(folder, *words, env=None, codes=(0,), timeout=1200):
    """Runs terraform in a folder of the copy; (exit code, all it printed). Another code than `codes` is a failure."""
    code, output, errors = run(["terraform", *words], folder, env or environment(), timeout)
    if code not in codes:
        raise Failed(f"terraform {' '.join(words)} in {folder} ended with {code}:\n{(output + errors)[-6000:]}")
    return code, output + errors


def terraform_json(folder, *words, env=None):
    code, output, errors = run(["terraform", *words], folder, env or environment(), 720)
    if code:
        raise Failed(f"terraform {' '.join(words)} in {folder}: {errors[-2000:]}")
    return json.loads(output)


def init(folder, *words, env=None):
    try:
        terraform(folder, "init", "-no-color", *words, env=env)
    except Failed as failure:
        if "provider" in str(failure) and "hashicorp/aws" in str(failure):
            raise Missing("the provider hashicorp/aws 5.100 cannot be had: put it into a plugin directory of Terraform "
                          "(terraform providers mirror DIRECTORY), or let Terraform reach its registry") from failure
        raise
