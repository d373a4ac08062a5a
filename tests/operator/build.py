"""What a binary says of the commit that it was built from."""
import os
import re
import subprocess
import tempfile

from leeward.claims import equal, expect
from leeward.cluster import BIN, ROOT
from common import page, shared

NAMED = re.compile(r'#define LEEWARD_REVISION "([0-9a-f]{12}(?:-dirty)?|unknown)"\n')


def revision(source, header):
    """As the build writes it."""
    subprocess.run(["cmake", f"-DSOURCE={source}", f"-DOUT={header}", "-P", os.path.join(ROOT, "cmake", "revision.cmake")],
                   check=True, capture_output=True, timeout=60)
    found = NAMED.fullmatch(open(header, encoding="utf-8").read())
    expect(found, open(header, encoding="utf-8").read())
    return found.group(1)


def the_revision_is_that_of_the_commit_at_each_build():
    with tempfile.TemporaryDirectory() as root:
        source, header = os.path.join(root, "source"), os.path.join(root, "build", "revision.h")
        os.makedirs(source)

        def git(*args):
            return subprocess.run(["git", "-C", source, "-c", "user.name=a", "-c", "user.email=a@b", *args], check=True,
                                  capture_output=True, text=True, timeout=60).stdout.strip()

        def commit(content):
            with open(os.path.join(source, "file"), "w", encoding="utf-8") as file:
                file.write(content)
            git("add", "file")
            git("commit", "-qm", content)
            return git("rev-parse", "HEAD")[:12]

        equal(revision(source, header), "unknown", "outside a checkout, as from a tarball")
        git("init", "-q")
        first = commit("one")
        equal(revision(source, header), first)
        os.utime(header, (1, 1))
        equal(revision(source, header), first)
        equal(os.stat(header).st_mtime, 1, "a header that says the same is not touched: nothing is compiled for it")
        second = commit("two")
        expect(revision(source, header) == second != first, "the next commit")
        with open(os.path.join(source, "file"), "w", encoding="utf-8") as file:
            file.write("three")
        equal(revision(source, header), second + "-dirty")
        below = os.path.join(source, "unpacked")
        os.makedirs(below)
        equal(revision(below, header), "unknown", "a tarball's in another project's checkout is not that one's")


def build_info_names_the_revision_of_the_build():
    told = {s["revision"] for s in page(shared().active[0]).series("leeward_build_info")}
    header = os.path.join(BIN, "..", "generated", "revision.h")
    if os.path.exists(header):
        equal(told, {NAMED.fullmatch(open(header, encoding="utf-8").read()).group(1)})
    else:  # binaries from elsewhere
        expect(all(re.fullmatch("[0-9a-f]{12}(-dirty)?|unknown", r) for r in told), str(told))
