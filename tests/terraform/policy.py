"""checkov over all of it: no finding, and no exception without a reason."""
import json
import os
import re
import subprocess

from leeward import venv
from leeward.claims import equal, expect
import workspace

PACKAGE = "checkov==3.3.30"


def checkov_finds_nothing_and_each_exception_has_its_reason():
    interpreter = venv.python("checkov", [PACKAGE])
    done = subprocess.run([interpreter, "-m", "checkov.main", "-d", os.path.join(workspace.ROOT, "terraform"), "--framework", "terraform",
                           "--skip-download", "--output", "json"], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=1200)
    expect(done.stdout.strip(), f"checkov said nothing: {done.stderr[-1500:]}")
    report = json.loads(done.stdout)
    failed = [f"{c['check_id']} {c['check_name']}: {c['resource']} ({c['file_path']})" for c in report["results"]["failed_checks"]]
    expect(not failed, "\n".join(failed))
    expect(report["summary"]["passed"] > 200 and not report["summary"]["parsing_errors"], f"checkov looked at little: {report['summary']}")
    written = set()
    for base, _, files in os.walk(os.path.join(workspace.ROOT, "terraform")):
        for name in files:
            if name.endswith(".tf"):
                with open(os.path.join(base, name), encoding="utf-8") as file:
                    for line in file:
                        if "checkov:skip" in line:
                            known = re.search(r"#checkov:skip=(CKV2?_[A-Z]+_\d+):\S+ \S+ \S+", line)
                            expect(known, f"{base}/{name}: an exception without a reason: {line}")
                            written.add(known.group(1))
    equal(written, {c["check_id"] for c in report["results"]["skipped_checks"]}, "exceptions that are written and that are needed")
