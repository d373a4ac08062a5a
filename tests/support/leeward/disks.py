"""Disks that are full. Needs root."""
import os
import subprocess


class SmallDisk:
    """A file system of its own under a node's data."""

    def __init__(self, node, megabytes):
        self.path, self.ballast = os.path.join(node.dir, "data"), os.path.join(node.dir, "data", "ballast")
        os.makedirs(self.path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0750", "leeward-test", self.path], check=True)

    def fill(self, leave=0):
        """Takes all that is free but `leave` bytes."""
        try:
            with open(self.ballast, "ab", buffering=0) as handle:
                while os.statvfs(self.path).f_bavail * 4096 > leave:
                    handle.write(b"x" * min(65536, max(4096, os.statvfs(self.path).f_bavail * 4096 - leave)))
        except OSError:
            pass

    def free(self):
        os.remove(self.ballast)

    def umount(self):
        subprocess.run(["umount", "-l", self.path], check=False)
