"""The package itself: built once for all tests, and what is in it."""
import os
import re
import shutil
import subprocess
import tempfile

from leeward.claims import equal, expect
from leeward.cluster import BIN, ROOT

BUILD = os.path.join(ROOT, "packaging", "deb", "build")
MOST_EXPOSED = 2.0  # of systemd-analyze's ten
BUILT = {}


def built():
    """Path of the package."""
    if not BUILT:
        BUILT["folder"] = tempfile.mkdtemp(prefix="leeward-package-")
        # By paths from where it is typed, as people give them.
        done = subprocess.run([BUILD, "--bin", os.path.relpath(BIN, BUILT["folder"]), "--out", "out"], cwd=BUILT["folder"],
                              capture_output=True, text=True, timeout=600, check=False)
        equal((done.returncode, done.stderr), (0, ""), "packaging/deb/build")
        BUILT["path"] = done.stdout.strip()
    return BUILT["path"]


def field(name, package=None):
    return subprocess.run(["dpkg-deb", "--field", package or built(), name], capture_output=True, text=True, check=True).stdout.strip()


def unpacked():
    """The package's files, as a folder."""
    if "files" not in BUILT:
        path = built()
        BUILT["files"] = os.path.join(BUILT["folder"], "files")
        subprocess.run(["dpkg-deb", "--raw-extract", path, BUILT["files"]], check=True)
    return BUILT["files"]


def newer():
    """The same package as a later version, with another unit."""
    if "newer" not in BUILT:
        tree = os.path.join(BUILT["folder"], "newer")
        shutil.copytree(unpacked(), tree, symlinks=True)
        control = os.path.join(tree, "DEBIAN", "control")
        text = open(control, encoding="utf-8").read()
        with open(control, "w", encoding="utf-8") as file:
            file.write(text.replace(f"Version: {field('Version')}\n", f"Version: {field('Version')}+1\n"))
        with open(os.path.join(tree, "lib/systemd/system/leeward.service"), "a", encoding="utf-8") as file:
            file.write("# of a later version\n")
        BUILT["newer"] = os.path.join(BUILT["folder"], "newer.deb")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, BUILT["newer"]], check=True, stdout=subprocess.DEVNULL)
    return BUILT["newer"]


def clean_up():
    if BUILT:
        shutil.rmtree(BUILT["folder"])


def one_command_builds_a_package_of_the_daemons_version():
    version = subprocess.run([os.path.join(BIN, "leewardd"), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    equal(built(), os.path.join(BUILT["folder"], "out", f"leeward_{version}_{architecture}.deb"))
    equal((field("Version"), field("Architecture")), (version, architecture))


def a_build_that_cannot_be_says_what_to_do_in_one_line():
    with tempfile.TemporaryDirectory() as empty:
        for arguments, code, words in ((["--bin", empty], 1, "scripts/build release"), (["--out"], 2, "wants a directory"),
                                       (["--nope"], 2, "usage: packaging/deb/build")):
            done = subprocess.run([BUILD, *arguments], capture_output=True, text=True, timeout=60, check=False)
            equal((done.returncode, done.stdout, done.stderr.count("\n")), (code, "", 1), " ".join(arguments))
            expect(words in done.stderr, done.stderr)


def lintian_has_nothing_to_say():
    done = subprocess.run(["lintian", "--allow-root", "--fail-on=error,warning", built()], capture_output=True, text=True, timeout=300, check=False)
    equal((done.returncode, done.stdout), (0, ""), "lintian")


def the_unit_exposes_little():
    unit = os.path.join(unpacked(), "lib/systemd/system/leeward.service")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True, check=True)
    score = float(re.search(r"Overall exposure level for leeward.service: ([\d.]+)", done.stdout).group(1))
    print(f"  systemd-analyze security: {score}, at most {MOST_EXPOSED}")
    expect(score <= MOST_EXPOSED, f"{score} > {MOST_EXPOSED}")


def help_of(program, *path):
    return subprocess.run([os.path.join(BIN, program), *path, "--help"], capture_output=True, text=True, check=True).stdout


def commands_of(program, *path):
    """Each command of it, as a path, with its flags."""
    text = help_of(program, *path)
    yield path, set(re.findall(r"(?:^  |,)(--?[a-z][a-z-]*)", text, re.M))
    below = text.partition("Subcommands:\n")[2]
    for name in re.findall(r"^  ([a-z-]+)", below, re.M):
        yield from commands_of(program, *path, name)


def manual_pages_name_every_command_and_flag():
    for program in ("leewardd", "leewardctl"):
        page = subprocess.run(["man", "--local-file", os.path.join(unpacked(), f"usr/share/man/man1/{program}.1.gz")], capture_output=True,
                              text=True, check=True, env={**os.environ, "MANWIDTH": "200", "LC_ALL": "C"}).stdout
        commands = list(commands_of(program))
        expect(len(commands) > 30 if program == "leewardctl" else len(commands) == 1, f"{program}: {len(commands)} commands")
        for path, flags in commands:
            section = page if not path else re.split(rf"^   {' '.join(path)}$", page, flags=re.M)[1]  # up to the page's end: the next ones too
            section = section if not path else re.split(r"^   \w|^[A-Z]", section, flags=re.M)[0]
            expect(flags, f"{program} {' '.join(path)} has no flags")
            for flag in flags if not path else flags - {"-h", "--help"}:
                expect(re.search(rf"(?<![\w-]){flag}(?![\w-])", section), f"{flag} of {program} {' '.join(path)} is not in the manual")


def completed(program, *words):
    """What bash offers for the last of these words."""
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_$1"; printf "%s\\n" "${COMPREPLY[@]}"')
    file = os.path.join(unpacked(), "usr/share/bash-completion/completions", program)
    done = subprocess.run(["bash", "-uc", script, "bash", file, program, *words], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def completion_offers_every_command_and_flag():
    for program in ("leewardd", "leewardctl"):
        general = next(commands_of(program))[1]
        for path, flags in commands_of(program):
            equal(completed(program, *path, "-"), flags | general, f"flags of {program} {' '.join(path)}")
            below = set(re.findall(r"^  ([a-z-]+)", help_of(program, *path).partition("Subcommands:\n")[2], re.M))
            expect(below <= completed(program, *path, ""), f"{below} after {program} {' '.join(path)}")
    equal(completed("leewardctl", "dr", "led"), {"ledger"})
    equal(completed("leewardctl", "--timeout", "5s", "-o", "json", "storage", "ver"), {"verify"}, "behind flags with values")
    equal(completed("leewardctl", "-o", ""), {"table", "json"}, "a closed set of values")
    equal(completed("leewardctl", "--cert", ""), set(), "file names are bash's matter")
    equal(completed("leewardctl", "--cert", "dr", "li"), set(), "a value is no command")
