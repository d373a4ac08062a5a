"""The unit under a real systemd: how a member runs, ends, is started again and is left alone."""
import hashlib
import os
import re
import struct

from leeward.claims import equal, expect
from leeward.cluster import Cluster, ctl, wait_for
from host import CONFIGURATION, DATA, configure, drop_in, failed_start, fresh, install, member, pid, serving

PROMISED = {"Type": "notify", "Restart": "on-failure", "RestartPreventExitStatus": "2 3", "StartLimitBurst": "10", "StartLimitIntervalUSec": "10min",
            "TimeoutStopUSec": "45s", "WatchdogUSec": "30s", "LimitNOFILE": "65536", "User": "leeward"}


def a_member_runs_as_a_user_of_its_own_and_is_operated_by_root():
    m, node = member()
    equal(m.shows(*PROMISED), PROMISED, "what systemd took from the unit")
    status = m.read(f"/proc/{pid()}/status")
    uid = m.run("id", "--user", "leeward").stdout.strip()
    expect(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status and uid != "0", status)
    expect("NoNewPrivs:\t1" in status and "Seccomp:\t2" in status and "CapEff:\t0000000000000000" in status, status)
    equal(m.run("stat", "--format=%a %U", *DATA).stdout.split("\n")[:2], ["750 leeward"] * 2, "the data")
    node.put("a", "1")
    shown = m.run("leewardctl", "--endpoints", "unix:///run/leeward/admin.sock", "cluster", "status").stdout
    expect("dev" in shown, shown)
    refused = m.run("setpriv", "--reuid=nobody", "leewardctl", "--endpoints", "unix:///run/leeward/admin.sock", "cluster", "status", check=False)
    equal(refused.returncode, 4, f"the socket of operators, asked by others: {refused.stderr}")


def a_reload_takes_the_new_configuration_in_the_same_process():
    m, _ = member()
    before = pid()
    m.write(CONFIGURATION, m.read(CONFIGURATION).replace('format = "pretty"', 'format = "pretty"\nlevel = "debug"'))
    m.run("systemctl", "reload", "leeward")
    wait_for("the reload in the log", lambda: "reloaded" in m.run("journalctl", "--unit=leeward", "--output=cat").stdout)
    equal((pid(), m.shows("ActiveState")["ActiveState"]), (before, "active"))


def processors_and_memory_are_set_by_a_drop_in():
    m, _ = member()
    example = m.read("/usr/share/doc/leeward/examples/resources.conf").replace("CPUAffinity=0-1", "CPUAffinity=0")
    drop_in(example)
    m.run("systemctl", "restart", "leeward")
    serving()
    expect("Cpus_allowed_list:\t0\n" in m.read(f"/proc/{pid()}/status"), "CPUAffinity does not count")
    equal(m.shows("MemoryHigh", "MemoryMax"), {"MemoryHigh": str(3 << 30), "MemoryMax": str(4 << 30)})


def a_member_that_falls_is_started_again_and_finds_its_data():
    m, node = member()
    node.put("a", "1")
    before = pid()
    m.run("systemctl", "kill", "--signal=SEGV", "--kill-whom=main", "leeward")
    wait_for("another process", lambda: pid() not in (0, before), 30)
    equal(serving().value("a"), "1")
    equal(m.shows("NRestarts")["NRestarts"], "1")


def a_member_that_hangs_is_ended_by_the_watchdog_and_started_again():
    m = fresh()
    install()
    configure()
    drop_in("[Service]\nWatchdogSec=6s\n")
    serving().put("a", "1")
    before = pid()
    m.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", "leeward")
    wait_for("another process", lambda: pid() not in (0, before), 60)
    equal(serving().value("a"), "1")
    expect("Watchdog timeout" in m.run("journalctl", "--unit=leeward", "--output=cat").stdout, "another reason")


def a_member_that_falls_at_each_start_is_left_down_after_ten():
    m = fresh()
    install()
    configure()
    # Its exit code is that of a failure at run time.
    drop_in("[Service]\nExecStart=\nExecStart=/bin/sh -c 'exit 1'\nRestartSec=50ms\n")
    m.run("systemctl", "start", "leeward", check=False)
    wait_for("systemd to give up", lambda: m.shows("SubState")["SubState"] == "failed", 30)
    log = m.run("journalctl", "--unit=leeward", "--output=cat").stdout
    equal(m.shows("NRestarts")["NRestarts"], "10", f"restarts asked for, the last of them refused: {log[-600:]}")
    expect("Start request repeated too quickly" in log, log[-600:])
    expect(m.run("systemctl", "start", "leeward", check=False).returncode != 0, "it may be started without an operator's word")
    m.run("systemctl", "reset-failed", "leeward")
    drop_in("")
    serving()


def a_bad_configuration_is_exit_code_2_and_no_loop():
    m = fresh()
    install()
    said = failed_start(2)
    expect(f"{CONFIGURATION}: No such file or directory" in said, said)
    configure()
    m.write(CONFIGURATION, m.read(CONFIGURATION) + "\n[raft]\nelection_time = \"1s\"\n")
    said = failed_start(2)
    expect("raft.election_time" in said, said)
    configure()
    serving()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_format(superblock, change):
    """The four copies with another format (server/wal/FORMAT.md), their checksums right."""
    out = b""
    for at in range(0, 4 * 4096, 4096):
        copy = bytearray(superblock[at:at + 4096])
        copy[32:36] = struct.pack("<I", struct.unpack("<I", copy[32:36])[0] + change)
        copy[12:16] = struct.pack("<I", crc32c(copy[:12] + copy[16:]))
        out += copy
    return out


def contents(m):
    """Every file of the data, by its hash; LOCK holds who looked last."""
    found = {}
    for top in DATA:
        for folder, _, files in os.walk(m.path(top)):
            for name in set(files) - {"LOCK"}:
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.join(folder, name)] = hashlib.sha256(file.read()).hexdigest()
    return found


def data_of_a_newer_format_is_exit_code_3_before_anything_is_written():
    m, node = member()
    node.put("a", "1")
    m.run("systemctl", "stop", "leeward")
    path = m.path("/var/lib/leeward/superblock")
    with open(path, "rb") as file:
        old = file.read()
    equal(with_format(old, 0), old, "the superblock as this test reads it")

    def write(superblock):
        with open(path, "r+b") as file:  # its owner and mode stay
            file.write(superblock)
    write(with_format(old, 1))
    before = contents(m)
    said = failed_start(3)
    expect(re.search(r"directory format (\d+), this version knows up to \d+; run the newer leewardd", said), said)
    equal(contents(m), before, "the files")
    write(old)
    equal(serving().value("a"), "1")


def a_drill_runs_within_the_units_bounds():
    """It starts another process, which lowers its own priority, and opens a second set of directories."""
    with Cluster(active=1, standby=1) as c:
        standby = c.standby[0]
        standby.extra = {"settings": {"admin": {"socket": "/run/leeward/admin.sock"}, "log": {"output": "stderr"}}}
        m = fresh()
        install()
        m.write(CONFIGURATION, standby.config().replace(f"{standby.dir}/data", "/var/lib/leeward"))
        drop_in("[Service]\nExecStartPre=/bin/sh -c '[ $$(nice -n 1 nice) -gt $$(nice) ]'\n")
        c.active[0].start()
        m.run("systemctl", "start", "leeward")
        try:
            wait_for("the primary to be ready", lambda: c.active[0].ok("/readyz"), 30)
            c.active[0].put("a", "1")
            wait_for("the standby to be eligible", lambda: standby.ok("/standby/eligible"), 30)
            done = ctl("--endpoints", standby.client, "dr", "drill", timeout=120)
            expect("passed" in done.stdout, done.stdout)
        finally:
            m.run("systemctl", "stop", "leeward", check=False)
