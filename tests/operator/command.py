"""leewardctl as an operator types it."""
import json
import os
import re
import socket
import subprocess
import time

from leeward.claims import equal, expect
from leeward.cluster import BIN, ctl, wait_for
from common import ctl_json, one_line, shared


def has(fields, thing, what):
    missing = set(fields.split(",")) - set(thing)
    expect(not missing, f"{what} lacks {missing}")


def json_has_the_fields_of_the_contract():
    c = shared()
    status = ctl_json(c, "cluster", "status")
    has("lineage,epoch,term,leader_id,revision,members", status, "cluster status")
    for field in ("epoch", "term", "leader_id", "revision"):
        expect(isinstance(status[field], str) and status[field].isdigit(), f"{field} is {status[field]!r}")
    expect(re.fullmatch("[0-9a-f]{32}", status["lineage"]), status["lineage"])
    equal(len(status["members"]), 6)
    for m in status["members"]:
        has("id,name,region,zone,role,state,voter,healthy,applied_index,lag_entries,state_hash,state_hash_index", m, "a member")
        expect(all(isinstance(m[f], str) for f in ("id", "applied_index", "lag_entries", "state_hash_index")), str(m))
        expect(re.fullmatch("[0-9a-f]{64}", m["state_hash"]), m["state_hash"])
        expect(m["client_url"].startswith("http://"), m["client_url"])
    standbys = wait_for("no figure of a standby to be unknown", lambda: (lambda all_of: all_of if all({"lag_writes", "lag_low_ms", "lag_high_ms"} <= set(s) for s in all_of) else None)(
        ctl_json(c, "standby", "status")["standbys"]))
    equal([s["id"] for s in standbys], ["11", "12", "13"])
    for s in standbys:
        has("id,region,connected,lag_writes,lag_entries,lag_bytes,lag_low_ms,lag_high_ms,promotion_eligible,reasons", s, "a standby")
        expect(isinstance(s["lag_high_ms"], (int, float)) and s["lag_low_ms"] <= s["lag_high_ms"], str(s))
        for reason in s["reasons"]:
            has("check,ok,detail", reason, "a reason")
    equal(ctl_json(c, "standby", "status", "--id", 12)["standbys"][0]["id"], "12")
    equal(ctl_json(c, "replica", "status", "--id", 3)["member"]["id"], "3")
    members = ctl_json(c, "member", "list")["members"]
    equal([m["id"] for m in members], ["1", "2", "3"])
    expect(all(u.startswith("http://") for m in members for u in m["client_urls"] + m["peer_urls"]), str(members))


def tables_are_plain_text_of_aligned_columns():
    c = shared()
    for command in (["cluster", "status"], ["cluster", "topology"], ["member", "list"], ["replica", "status"], ["standby", "status"]):
        done = ctl("--endpoints", c.endpoints, *command)
        expect("\x1b" not in done.stdout and not done.stderr, f"{command}: {done.stdout!r} {done.stderr!r}")
        expect(all(line == line.rstrip() for line in done.stdout.splitlines()), f"trailing blanks in {command}")
    table = ctl("--endpoints", c.endpoints, "cluster", "status").stdout
    for node in c.nodes:
        expect(re.search(rf"\b{node.id}\s+{node.name}\s", table), table)


def leadership_moves_by_leewardctl():
    c = shared()
    old = c.leader()
    new = next(n for n in c.active if n is not old)
    # A follower's endpoint is enough: the leader is found by it.
    done = ctl("--endpoints", new.client, "member", "move-leader", new.id)
    expect(str(new.id) in done.stdout, done.stdout)
    wait_for("the new leader", lambda: new.ok("/leader") and not old.ok("/leader"))


def admitting_who_is_admitted_says_so_and_succeeds():
    c = shared()
    socket_of_a_follower = f"unix://{next(n for n in c.active if not n.ok('/leader')).dir}/admin.sock"
    for node in c.active:  # the leader, who hears nobody say its own id, too
        done = ctl("--endpoints", socket_of_a_follower, "member", "admit", node.id)
        equal(done.stdout, f"member {node.id} is admitted already; nothing was changed\n")


def exit_codes_and_errors_say_what_to_do():
    c = shared()
    def run(*args, wanted, words):
        done = ctl(*args, check=False, again=wanted != 4)
        equal((done.returncode, done.stdout), (wanted, ""), f"leewardctl {' '.join(map(str, args))}: {done.stderr}")
        one_line(done.stderr, "leewardctl: ", *words)
    e = ("--endpoints", c.endpoints)
    run(*e, "standby", "status", "--id", 1, wanted=1, words=["primary", "replica status"])
    run(*e, "replica", "status", "--id", 99, wanted=1, words=["99", "cluster status"])
    run(*e, "member", "admit", 99, wanted=1, words=["99"])
    run(*e, "member", "move-leader", 99, wanted=3, words=["99", "member list"])
    run(*e, "member", "move-leader", "x", wanted=2, words=["--help"])
    run(*e, "nonsense", wanted=2, words=["nonsense", "--help"])
    run(*e, "cluster", "nonsense", wanted=2, words=["nonsense", "--help"])
    run(*e, wanted=2, words=["--help"])
    for unknown in (99, 0, 4294967296):
        run(*e, "dr", "plan", "--members", unknown, wanted=1, words=[f"id {unknown};", "cluster status"])
    run(*e, "dr", "switchover", "--to", "east", wanted=3, words=["already_primary", "region east is primary already"])
    run("--endpoints", "nonsense", "cluster", "status", wanted=2, words=["host:port"])
    run(*e, "--timeout", "5", "cluster", "status", wanted=2, words=["--timeout", "5s"])
    run(*e, "-o", "yaml", "cluster", "status", wanted=2, words=["json"])
    run(*e, "--cert", "/nonexistent", "cluster", "status", wanted=2, words=["--key"])
    run(*e, "--cacert", "/nonexistent", "cluster", "status", wanted=2, words=["/nonexistent"])
    run("--endpoints", f"127.{c.net}.9.9:2379", "cluster", "status", wanted=4, words=["--endpoints"])
    run("--endpoints", "unix:///nonexistent.sock", "cluster", "status", wanted=4, words=["/nonexistent.sock"])
    run("storage", "verify", os.path.join(c.active[0].dir, "data"), wanted=3, words=["in use", "stop"])
    run("storage", "verify", "/nonexistent", wanted=1, words=["/nonexistent"])
    took = []
    with socket.socket() as silent:  # accepts, never answers
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind((f"127.{c.net}.9.9", 2379))
        silent.listen()
        while len(took) < 3 and min(took, default=5) >= 5:  # the default is 5 s; a slow machine may add some
            started = time.monotonic()
            run("--endpoints", f"127.{c.net}.9.9:2379", "--timeout", "300ms", "cluster", "status", wanted=4, words=["--endpoints"])
            took.append(time.monotonic() - started)
    expect(min(took) < 5, "--timeout 300ms took seconds")


def a_dead_endpoint_is_passed_over_and_the_unix_socket_works():
    c = shared()
    dead = f"127.{c.net}.9.9:2379"
    equal(ctl_json(c, "cluster", "status", endpoints=f"{dead},{c.active[1].client}")["node_id"], "2")
    equal(ctl_json(c, "cluster", "status", endpoints=f"unix://{c.standby[0].dir}/admin.sock")["node_id"], "11")
    done = subprocess.run([os.path.join(BIN, "leewardctl"), "cluster", "status", "-o", "json"], capture_output=True, text=True,
                          env={**os.environ, "LEEWARDCTL_ENDPOINTS": c.active[2].client}, check=True, timeout=60)
    equal(json.loads(done.stdout)["node_id"], "3")


def help_names_commands_and_exit_codes():
    text = ctl("--help").stdout
    for word in ("cluster", "member", "replica", "standby", "storage", "--endpoints", "--timeout", "Exit codes"):
        expect(word in text, f"{word} not in {text}")
    expect("admit" in ctl("member", "--help").stdout, "member --help")
