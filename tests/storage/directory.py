"""Damages to the directory of a stopped node, and what is told of them."""
import base64
import contextlib
import json
import os
import shutil
import struct

from leeward.cluster import Failure, ctl


def decode(text):
    return base64.b64decode(text)


def encode(raw):
    return base64.b64encode(raw).decode()


def files_of(root):
    """Every file below root, sorted."""
    return sorted(os.path.join(base, name) for base, _, names in os.walk(root) for name in names)


def copy(source, target):
    """A copy that keeps hard links among the files."""
    seen = {}
    for path in files_of(source):
        inode, to = os.stat(path).st_ino, os.path.join(target, os.path.relpath(path, source))
        os.makedirs(os.path.dirname(to), exist_ok=True)
        if inode in seen:
            os.link(seen[inode], to)
        else:
            shutil.copy2(path, to)
            seen[inode] = to


def flip(path, offset, bit):
    with open(path, "r+b") as handle:
        handle.seek(offset)
        byte = handle.read(1)[0]
        handle.seek(offset)
        handle.write(bytes([byte ^ 1 << bit]))


@contextlib.contextmanager
def flipped(*places):
    """places: (path, offset, bit). Turned back at the end."""
    for place in places:
        flip(*place)
    try:
        yield
    finally:
        for place in places:
            flip(*place)


@contextlib.contextmanager
def cut(path, size):
    with open(path, "rb") as handle:
        whole = handle.read()
    os.truncate(path, size)
    try:
        yield
    finally:
        with open(path, "r+b") as handle:  # the same inode: it may have other names
            handle.write(whole)


@contextlib.contextmanager
def missing(path):
    os.rename(path, path + ".away-for-a-test")
    away = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(path))), "away-" + os.path.basename(path))
    os.rename(path + ".away-for-a-test", away)
    try:
        yield
    finally:
        os.rename(away, path)


class Verdict:
    def __init__(self, data):
        done = ctl("-o", "json", "storage", "verify", "--full-scan", data, check=False, timeout=60)
        self.code, self.error = done.returncode, done.stderr.strip()
        self.report = json.loads(done.stdout) if done.stdout.strip() else {"faults": [], "sound": False, "uncovered": []}
        self.named = {f["file"] for f in self.report["faults"]}
        self.uncovered = {u["file"]: int(u["bytes"]) for u in self.report["uncovered"]}

    def __str__(self):
        return f"exit {self.code}: {self.error} {[(f['file'], f['offset_bytes'], f['detail']) for f in self.report['faults']]}"


def expect_sound(data):
    verdict = Verdict(data)
    if verdict.code != 0 or not verdict.report["sound"]:
        raise Failure(f"a sound directory is called damaged: {verdict}")
    return verdict


# Rewriting checksummed headers, to look like a newer version's files.

def crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = crc32c_table()


def crc32c(data, before=0):
    crc = before ^ 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


def set_version(path, version, header_bytes, headers=1):
    """The format version of a superblock (4 copies of 4096) or a segment (512)."""
    with open(path, "r+b") as handle:
        for number in range(headers):
            handle.seek(number * header_bytes)
            header = bytearray(handle.read(header_bytes))
            header[8:12] = struct.pack("<I", version)
            header[12:16] = struct.pack("<I", crc32c(bytes(header[:12]) + bytes(header[16:])))
            handle.seek(number * header_bytes)
            handle.write(header)


SECTOR = 512
BOOTSTRAP = 65  # EntryKind of a group's first entry: the group's state, a format in its first byte


def skip_varint(raw, at):
    while raw[at] & 128:
        at += 1
    return at + 1


def payload_at(entry):
    """Where an entry's payload begins: server/wal/FORMAT.md, "Entry"."""
    at = 1
    for _ in range(4 + 3):  # term, index, epoch, writes; of the position history index, writes, bytes
        at = skip_varint(entry, at)
    return skip_varint(entry, at + 32)


def make_bootstrap_newer(path):
    """Raises the format in the bootstrap entry of a segment, with every checksum as a newer version would write it."""
    with open(path, "r+b") as handle:
        raw = bytearray(handle.read())
        salt = crc32c(bytes(raw[16:32]))  # segment number and salt

        def salted(data):
            return crc32c(bytes(data), salt) or 1

        at = SECTOR
        while raw[at:at + 4] == b"LWB1":
            sectors, records = struct.unpack_from("<II", raw, at + 20)
            place = at + 32 + 4 * (sectors - 1)
            for _ in range(records):
                length, kind = struct.unpack_from("<IB", raw, place + 4)
                if kind == 1 and raw[place + 9] == BOOTSTRAP:
                    raw[place + 9 + payload_at(raw[place + 9:place + 9 + length])] += 100
                    struct.pack_into("<I", raw, place, salted(raw[place + 4:place + 9 + length]))
                    for number in range(1, sectors):
                        sector = raw[at + number * SECTOR:at + (number + 1) * SECTOR]
                        struct.pack_into("<I", raw, at + 28 + 4 * number, salted(sector))
                    struct.pack_into("<I", raw, at + 4, salted(raw[at + 8:at + SECTOR]))
                    handle.seek(0)
                    handle.write(raw)
                    return
                place += 9 + length
            at += sectors * SECTOR
    raise Failure(f"no bootstrap entry in {path}")
