"""What needs no account: formatting, the five files, each folder's own tests, refusals at plan."""
import concurrent.futures
import os
import re
import time

from leeward.claims import expect
import workspace

FILES = {"README.md", "main.tf", "variables.tf", "outputs.tf", "versions.tf"}
pool = concurrent.futures.ThreadPoolExecutor(1)
own_tests = {}


def folders():
    found = []
    for base, below, files in os.walk(workspace.TREE):
        below[:] = sorted(d for d in below if d != ".terraform")
        if "main.tf" in files:
            found.append(os.path.relpath(base, workspace.TREE))
    return sorted(found)


def blocks(folder, file, kind):
    """(name, text) of each `kind "name" { ... }` at the top of a file."""
    text = open(os.path.join(workspace.TREE, folder, file), encoding="utf-8").read()
    return re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', text, re.M | re.S)


def the_code_is_formatted():
    code, text = workspace.terraform("", "fmt", "-check", "-recursive", "-diff", codes=(0, 3))
    expect(code == 0, f"terraform fmt -recursive would change:\n{text}")


def each_folder_has_the_five_files_and_tests_of_its_own():
    expect(len(folders()) >= 6, f"only {folders()} found")
    for folder in folders():
        files = set(os.listdir(os.path.join(workspace.TREE, folder)))
        expect(FILES <= files, f"{folder} lacks {sorted(FILES - files)}")
        expect(any(f.endswith(".tftest.hcl") for f in files), f"{folder} has no test")


def each_variable_is_typed_and_described_and_stands_in_the_readme():
    seen = 0
    for folder in folders():
        readme = open(os.path.join(workspace.TREE, folder, "README.md"), encoding="utf-8").read()
        for name, text in blocks(folder, "variables.tf", "variable"):
            seen += 1
            for attribute in ("type", "description"):
                expect(re.search(rf"^  {attribute} += ", text, re.M), f"{folder}: variable {name} has no {attribute}")
            expect(f"`{name}`" in readme, f"{folder}/README.md does not name variable {name}")
        for name, text in blocks(folder, "outputs.tf", "output"):
            seen += 1
            expect(re.search(r"^  description += ", text, re.M), f"{folder}: output {name} has no description")
            expect(f"`{name}`" in readme, f"{folder}/README.md does not name output {name}")
    expect(seen > 60, f"only {seen} variables and outputs found")


def run_own_tests(folder):
    started = time.monotonic()
    folder = os.path.join(workspace.OWN_TESTS, folder)
    workspace.init(folder, "-backend=false")  # `test` validates too; `validate` alone cannot take a module that is handed its providers
    _, text = workspace.terraform(folder, "test", "-no-color", codes=(0, 1))
    return text, time.monotonic() - started


def start_own_tests():
    """Beside what waits for AWS's stand-in."""
    for folder in folders():
        own_tests[folder] = pool.submit(run_own_tests, folder)


def each_module_passes_its_own_tests():
    failures, runs = [], 0
    for folder, test in own_tests.items():
        text, seconds = test.result()
        closing = re.search(r"(\d+) passed, (\d+) failed", text)
        passed = int(closing.group(1)) if closing else 0
        print(f"   {folder}: {passed} runs, {seconds:.1f} s", flush=True)
        runs += passed
        if not closing or not passed or int(closing.group(2)) or "skip" in text:
            failures.append(f"{folder}:\n{text}")
    expect(not failures, "\n".join(failures))
    expect(runs >= 40, f"only {runs} runs")
