"""The first commands of a member's instance, run for real: loop devices stand for the volumes, in a mount namespace
of its own with a /dev/disk/by-id, an fstab and mount points that nobody else sees."""
import os
import subprocess
import tempfile

from leeward.claims import expect, equal
import workspace

SCRIPT = "modules/cluster/user_data.sh"
DATA, WAL = "vol-0aaaaaaaaaaaaaaaa", "vol-0bbbbbbbbbbbbbbbb"

# Runs the script as a boot would, within a namespace: its mounts end with it.
STAGE = """set -e
mount -t tmpfs none /dev/disk 2>/dev/null || { mkdir -p /dev/disk; mount -t tmpfs none /dev/disk; }
mkdir -p /dev/disk/by-id
ln -s "$DATA_DEVICE" /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0aaaaaaaaaaaaaaaa
ln -s "$WAL_DEVICE" /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0bbbbbbbbbbbbbbbb
mount --bind "$WORK/fstab" /etc/fstab
mount -t tmpfs none /var/lib/leeward-test
mkdir /var/lib/leeward-test/lib
mount --bind /var/lib/leeward-test/lib /var/lib
bash "$WORK/user_data.sh" && code=0 || code=$?
if [ $code -eq 0 ]; then eval "$INSIDE"; fi
exit $code
"""


class Volumes:
    """Two loop devices over files of 32 MiB."""

    def __enter__(self):
        self.work = tempfile.mkdtemp(prefix="leeward-boot-")
        self.devices = []
        for name in ("data", "wal"):
            path = os.path.join(self.work, name)
            with open(path, "wb") as file:
                file.truncate(32 << 20)
            self.devices.append(subprocess.run(["losetup", "-f", "--show", path], check=True, text=True,
                                               stdout=subprocess.PIPE).stdout.strip())
        text = open(os.path.join(workspace.TREE, SCRIPT), encoding="utf-8").read()
        text = text.replace("${data_volume}", DATA).replace("${wal_volume}", WAL).replace("$${", "${")
        with open(os.path.join(self.work, "user_data.sh"), "w", encoding="utf-8") as file:
            file.write(text)
        open(os.path.join(self.work, "fstab"), "w", encoding="utf-8").close()
        return self

    def __exit__(self, *_):
        for device in self.devices:
            subprocess.run(["losetup", "-d", device], check=False)
        subprocess.run(["rm", "-rf", self.work], check=True)

    def boot(self, inside="true"):
        """(exit code, what was printed) of the script followed by `inside`."""
        os.makedirs("/var/lib/leeward-test", exist_ok=True)
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", STAGE], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180,
            env={**os.environ, "WORK": self.work, "DATA_DEVICE": self.devices[0], "WAL_DEVICE": self.devices[1], "INSIDE": inside})
        os.rmdir("/var/lib/leeward-test")
        return done.returncode, done.stdout


def a_first_boot_makes_file_systems_and_a_later_one_keeps_them():
    with Volumes() as volumes:
        code, text = volumes.boot("findmnt -no SOURCE,FSTYPE /var/lib/leeward; findmnt -no SOURCE,FSTYPE /var/lib/leeward-wal;"
                                  " echo kept >/var/lib/leeward/state; echo log >/var/lib/leeward-wal/segment")
        expect(code == 0, text)
        equal([line.split() for line in text.splitlines()[-2:]], [[device, "ext4"] for device in volumes.devices], "mounts")
        # The volumes come to another instance: new fstab, the same volumes.
        open(os.path.join(volumes.work, "fstab"), "w", encoding="utf-8").close()
        code, text = volumes.boot("cat /var/lib/leeward/state /var/lib/leeward-wal/segment")
        equal((code, text.split()[-2:]), (0, ["kept", "log"]), "what a second instance finds")
        # The same instance again: its fstab is not written twice.
        code, text = volumes.boot()
        expect(code == 0, text)
        fstab = open(os.path.join(volumes.work, "fstab"), encoding="utf-8").read()
        equal([line.split()[1] for line in fstab.splitlines()], ["/var/lib/leeward", "/var/lib/leeward-wal"], "fstab")


def a_volume_that_holds_something_else_is_not_formatted():
    with Volumes() as volumes:
        subprocess.run(["mkswap", volumes.devices[0]], check=True, stdout=subprocess.DEVNULL)
        before = subprocess.run(["sha256sum", volumes.devices[0]], check=True, text=True, stdout=subprocess.PIPE).stdout
        code, text = volumes.boot()
        after = subprocess.run(["sha256sum", volumes.devices[0]], check=True, text=True, stdout=subprocess.PIPE).stdout
        expect(code != 0, f"the boot went on with a volume that is no member's:\n{text}")
        equal(after, before, "content of the volume")
