"""The object store: moto's S3, on the control host's foot in each region, with a bucket that locks what is put."""
import functools
import os
import subprocess
import urllib.request
import xml.etree.ElementTree as tree

from leeward.cluster import ROOT, wait_for
from leeward import venv
import lab

PACKAGES = ["moto[server]==5.2.5"]
PORT, BUCKET = 9800, "lab-backup"


def prepare():
    """Outside of the lab, for in it there is no index of packages. Errors: Missing."""
    if lab.INSIDE not in os.environ:
        venv.python("s3", PACKAGES)


class Store:
    def __init__(self):
        self.process = None

    def start(self):
        program = os.path.join(ROOT, "build", "venv-s3", "bin", "moto_server")
        with open(os.path.join(lab.HERE, "store.log"), "ab") as log:
            self.process = subprocess.Popen([program, "-H", "0.0.0.0", "-p", str(PORT)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=lab.die_with_parent)
        wait_for("the object store to answer", lambda: ask("GET", "/"), 60, every=0.2)
        ask("PUT", f"/{BUCKET}", {"x-amz-bucket-object-lock-enabled": "true"})
        ask("PUT", f"/{BUCKET}?object-lock", body="<ObjectLockConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
            "<DefaultRetention><Mode>GOVERNANCE</Mode><Days>7</Days></DefaultRetention></Rule></ObjectLockConfiguration>")
        return self

    def stop(self):
        """Nobody answers at its port, as at one that is down; what it holds stays."""
        lab.run("nft", "add table inet store; add chain inet store input { type filter hook input priority 0; }; "
                f"add rule inet store input tcp dport {PORT} ip saddr != 127.0.0.1 reject with tcp reset")

    def resume(self):
        lab.run("nft", "delete table inet store")


@functools.cache
def running():
    return Store().start()


def ask(method, path, headers=None, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", method=method, headers={"Content-Type": "application/xml", **(headers or {})}, data=body and body.encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode() or "done"


def objects(region):
    """Keys of that region's backups, with their sizes."""
    found = tree.fromstring(ask("GET", f"/{BUCKET}?list-type=2"))
    space = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
    return {thing.find("s3:Key", space).text: int(thing.find("s3:Size", space).text) for thing in found.findall("s3:Contents", space)
            if f"/{region}/" in thing.find("s3:Key", space).text}


def unfinished():
    """Uploads in parts that nobody has ended."""
    return ask("GET", f"/{BUCKET}?uploads").count("<UploadId>")


# Of the role `backup`: both regions put into the one bucket.
SETTINGS = {"backup_bucket": BUCKET, "backup_endpoint": f"http://{lab.REGIONS['west']}.1:{PORT}", "backup_s3_region": "us-east-1", "backup_delay": "0",
            "backup_room_mib": 16, "backup_environment": {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab"}}
