"""The programs under test as another version of themselves: the same but for the number that they say, and for the newest format
that they know. What such a version writes in its format is what this one does."""
import os
import shutil
import subprocess

from leeward.claims import expect
from leeward.cluster import BIN


def own():
    return subprocess.run([os.path.join(BIN, "leewardd"), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


def another(folder, version, formats_later=0):
    """Made in `folder`, which is not there yet; `version` has as many letters as the own one."""
    os.makedirs(folder)
    for program in ("leewardd", "leewardctl"):
        shutil.copy2(os.path.join(BIN, program), folder)
    exchanged = [(own(), version)]
    with open(os.path.join(folder, "leewardd"), "rb+") as file:
        bytes_ = file.read()
        if formats_later:
            says = b"newest format: "
            newest = int(bytes_.split(says, 1)[1][:1])
            exchanged.append((f"newest format: {newest}", f"newest format: {newest + formats_later}"))
        for old, new in exchanged:
            expect(bytes_.count(old.encode()) == 1 and len(old) == len(new), f"{old} cannot be exchanged for {new} in leewardd")
            bytes_ = bytes_.replace(old.encode(), new.encode())
        file.seek(0)
        file.write(bytes_)
    return folder
