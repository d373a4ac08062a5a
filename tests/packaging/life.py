"""A package's life on a host: installed, upgraded, removed, purged."""
from leeward.claims import equal, expect, metric
from leeward.cluster import wait_for
from host import CONFIGURATION, DATA, configure, dpkg, fresh, install, machine, member, pid, serving
import package


def state():
    shown = machine().shows("ActiveState", "UnitFileState")
    return shown["ActiveState"], shown["UnitFileState"]


def an_installation_neither_enables_nor_starts_the_unit():
    m = fresh()
    install()
    equal(state(), ("inactive", "disabled"), "the unit")
    equal(m.run("stat", "--format=%a %U %G", "/etc/leeward", "/etc/leeward/tls").stdout.split("\n")[:2], ["750 root leeward"] * 2, "what holds keys")
    expect(not any(m.there(path) for path in DATA), "data before there was a start")
    configure()
    serving()
    equal(state()[0], "active", "the unit, started by hand")


def an_upgrade_does_not_restart_the_daemon():
    m, node = member()
    node.put("before", "1")
    before = pid()
    equal(metric(node, "restart_pending"), 0, "restart_pending")
    said = install(package.newer())
    equal(dpkg("--status", "leeward").split("Version: ")[1].split()[0], package.field("Version", package.newer()), "installed version")
    equal((pid(), state()[0]), (before, "active"), "the daemon after the upgrade")
    expect("restart one member at a time: systemctl restart leeward" in said, said)
    equal(m.shows("NeedDaemonReload")["NeedDaemonReload"], "no", "the new unit is known")
    equal(node.value("before"), "1")
    wait_for("restart_pending to be 1", lambda: metric(node, "restart_pending") == 1)
    m.run("systemctl", "restart", "leeward")
    equal(serving().value("before"), "1")
    expect(pid() != before and metric(node, "restart_pending") == 0, "the restart by hand starts the new one")


def an_upgrade_starts_no_member_that_is_down():
    m, _ = member()
    m.run("systemctl", "enable", "leeward")
    m.run("systemctl", "stop", "leeward")
    said = install(package.newer())
    equal(state(), ("inactive", "enabled"), "the unit")
    expect("restart" not in said, said)


def a_removal_stops_it_and_keeps_configuration_and_data():
    m, node = member()
    m.run("systemctl", "enable", "leeward")
    node.put("kept", "1")
    dpkg("--remove", "leeward")
    expect(not node.ok("/livez"), "the daemon goes on after its removal")
    expect(m.there(CONFIGURATION) and m.there("/var/lib/leeward/superblock"), "configuration or data went")
    install()
    equal(state(), ("inactive", "enabled"), "the unit, installed again after its operator had enabled it")
    equal(serving().value("kept"), "1", "what a second installation finds")


def a_purge_removes_the_configuration_and_says_that_it_keeps_the_data():
    m, node = member()
    node.put("kept", "2")
    said = dpkg("--purge", "leeward")
    for path in DATA:
        expect(m.there(path) and path in said, f"{path} after the purge, which said: {said}")
    expect("rm -r /var/lib/leeward\n" in said, said)
    left = [path for path in ("/etc/leeward", "/etc/needrestart/conf.d/leeward.conf", "/etc/apt/apt.conf.d/51leeward") if m.there(path)]
    equal(left, [], "what is left of the configuration")
    install()
    configure()
    equal(serving().value("kept"), "2", "what a second installation finds")


def a_purge_where_nothing_ever_ran_speaks_of_no_data():
    fresh()
    install()
    said = dpkg("--purge", "leeward")
    expect("kept" not in said, said)
