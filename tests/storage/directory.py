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


def crc32c(data):
    crc = 0xffffffff
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

