"""Health paths, /dr/status and the console, in good and in bad times."""
import http.client
import json
import math
import os
import re
import signal
import socket
import subprocess
import time

from leeward.claims import equal, expect
from leeward.cluster import BIN, Cluster, ctl, wait_for
from common import ask, check_paths, code, ctl_json, page, shared, soon

HEALTH_PATHS = ("/livez", "/readyz", "/ready", "/readiness", "/health", "/leader", "/primary", "/replica", "/standby",
                "/standby/eligible")

# name of a place -> path -> status
HEALTHY = {
    "leader": dict.fromkeys(("/livez", "/readyz", "/ready", "/readiness", "/health", "/leader", "/primary", "/replica"), 200)
    | {"/standby": 503, "/standby/eligible": 503},
    "follower": dict.fromkeys(("/livez", "/readyz", "/ready", "/readiness", "/health", "/primary", "/replica"), 200)
    | {"/leader": 503, "/standby": 503, "/standby/eligible": 503},
    "standby": dict.fromkeys(("/livez", "/readyz", "/ready", "/readiness", "/health", "/replica", "/standby",
                              "/standby/eligible"), 200) | {"/leader": 503, "/primary": 503},
}


def every_health_path_answers_as_its_place_asks():
    c = shared()
    leader = c.leader()
    follower = next(n for n in c.active if n is not leader)
    check_paths(leader, HEALTHY["leader"])
    check_paths(follower, HEALTHY["follower"])
    for node in c.standby:
        check_paths(node, HEALTHY["standby"])


def verbose_exclude_and_single_checks():
    node = shared().standby[0]
    checks = ("started", "stopping", "fenced", "isolated", "storage", "integrity", "raft", "stream", "apply")
    for port in (node.admin, node.metrics):
        def all_pass(port=port):
            _, _, body = ask(port, "/readyz?verbose")
            for check in checks:
                expect(f"[+]{check} ok" in body, f"{check} not in {body}")
                equal(ask(port, f"/readyz/{check}")[0], 200, check)
            expect(body.endswith("readyz check passed\n"), body)
        soon("every check to pass", all_pass)
        _, _, body = ask(port, "/readyz?verbose&exclude=raft&exclude=stream")
        expect("[+]raft excluded: ok" in body and "[+]stream excluded: ok" in body, body)
        equal(ask(port, "/readyz/nonsense")[0], 404)
        equal(ask(port, "/readyz?exclude=nonsense")[0], 400)
        equal(ask(port, "/readyz?verbsoe")[0], 400)
        expect("[+]loop ok" in ask(port, "/livez?verbose")[2], "/livez?verbose")
    def healthy():
        health = json.loads(ask(node.admin, "/health")[2])
        equal((health["health"], health["status"]), ("true", "healthy"))
        for check in ("store", "raft", "disk", "stream"):
            expect(check in health["checks"], f"{check} not in {health}")
    soon("/health", healthy)


def bounds_carry_units():
    c = shared()
    standby, active = c.standby[0], c.active[0]
    for path in ("/replica?lag=", "/standby?max_lag="):
        equal(code(standby, path + "1h"), 200, path)
        equal(code(standby, path + "1ns"), 503, path)  # no lag is known so exactly
        for wrong in ("x", "100", "-1s", ""):
            equal(code(standby, path + wrong), 400, path + wrong)
    equal(code(standby, "/replica?max_lag=1s"), 400)
    equal(code(active, "/replica?lag=1ns"), 200)


def head_and_options_answer_as_get_without_a_body():
    c = shared()
    for node in (c.leader(), c.standby[0]):
        for path in HEALTH_PATHS + ("/metrics", "/"):
            for method in ("HEAD", "OPTIONS"):
                def as_get(node=node, path=path, method=method):
                    got, _, body = ask(node.admin, path, method)
                    equal((got, body), (code(node, path), ""), f"{method} {path}")
                soon(f"{method} of {path}", as_get)
    equal(code(c.active[0], "/livez", "POST"), 405)
    equal(code(c.active[0], "/nonsense"), 404)


def dr_status_says_the_same_as_cluster_status():
    c = shared()
    status = json.loads(ctl("--endpoints", c.endpoints, "-o", "json", "cluster", "status").stdout)
    for node, state in ((c.active[0], "serving"), (c.standby[0], "following")):
        def told(node=node, state=state):
            answer = json.loads(ask(node.admin, "/dr/status")[2])
            equal((answer["lineage"], answer["epoch"], answer["state"], answer["armed_region"]),
                  (status["lineage"], "1", state, "west"))
            equal({g["region"]: (g["role"], g.get("epoch")) for g in answer["groups"]},
                  {"east": ("primary", "1"), "west": ("standby", None if node is c.active[0] else "1")})
            equal(sorted(i for g in answer["groups"] for i in g["members"]), sorted(str(n.id) for n in c.nodes))
            equal((answer["history"], answer["promotion_id"], answer["fencing"]["mode"]), ([], "", "contact"))
        soon(f"/dr/status of {node.name}", told)
        equal(ask(node.metrics, "/dr/status")[0], 404, "/dr/status on the metrics port")


def without_time(status):
    """What two looks at a cluster at rest have in common."""
    return {**{k: v for k, v in status.items() if k != "silence_ms"},
            "groups": [{k: v for k, v in g.items() if k != "position_index"} for g in status["groups"]]}


def the_admin_port_tells_of_recovery_what_leewardctl_prints():
    c = shared()
    for node in (c.leader(), c.standby[0], c.standby[1], c.standby[2]):
        soon(f"/dr/status of {node.name} to be what leewardctl prints", lambda node=node: equal(
            without_time(json.loads(ask(node.admin, "/dr/status")[2])), without_time(ctl_json(c, "dr", "status", endpoints=node.client))))
    soon("one plan, everywhere", lambda: plans_agree(c))
    serving = json.loads(ask(c.leader().admin, "/dr/plan")[2])
    equal((serving["allowed"], serving["refusals"][0]["rule"]), (False, "serving"))
    survivors = json.loads(ask(c.standby[0].admin, f"/dr/plan?members={c.standby[0].id}")[2])
    expect("quorum" in [r["rule"] for r in survivors["refusals"]] and survivors["survivors"], str(survivors))
    equal(code(c.standby[0], "/dr/plan?members=99"), 400)
    equal(ask(c.standby[0].metrics, "/dr/plan")[0], 404, "/dr/plan on the metrics port")


def plans_agree(c):
    by_command = ctl_json(c, "dr", "plan", endpoints=c.standby[0].client)
    made = []
    for node in c.standby:
        status, headers, body = ask(node.admin, "/dr/plan")
        if status == 200:
            equal(headers["content-type"], "application/json")
            made.append(json.loads(body))
        else:  # only the group's leader makes one
            equal(status, 503, body)
            expect("leads region " in body and ": ask it at" in body, body)
    equal(len(made), 1, "plans of the three standbys")
    equal(set(made[0]), set(by_command), "fields of a plan")
    for field in ("allowed", "refusals", "digest", "region", "members", "from_epoch", "to_epoch", "next_command"):
        equal(made[0][field], by_command[field], field)
    equal([r["rule"] for r in made[0]["refusals"]], ["primary_heard"])


def console_document(node):
    """The first that its stream gives."""
    connection = http.client.HTTPConnection(node.admin, timeout=20)
    try:
        connection.request("GET", "/console/events")
        answer = connection.getresponse()
        equal(answer.status, 200)
        line = b""
        while not line.startswith(b"data: "):
            line = answer.readline()
        return json.loads(line[6:])
    finally:
        connection.close()


def the_console_shows_every_member():
    c = shared()
    for node in (c.active[0], c.standby[0]):
        status, headers, body = ask(node.admin, "/")
        equal(status, 200)
        expect(headers["content-type"].startswith("text/html") and "default-src 'none'" in headers["content-security-policy"],
               str(headers))
        expect("<html" in body and 'src="console.js"' in body, body[:300])
        told = console_document(node)["leewardctl"]
        equal([(m["id"], m["name"]) for m in told["cluster_status"]["members"]], [(str(n.id), n.name) for n in c.nodes], "members on the console")
        equal(told["dr_status"]["state"], "following" if node.standby else "serving")


def livez_times(node, seconds):
    """Seconds each of many answers of /livez took."""
    out, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        equal(code(node, "/livez"), 200)
        out.append(time.monotonic() - started)
        time.sleep(0.01)
    return sorted(out)


def an_overloaded_client_port_does_not_delay_livez():
    with Cluster(active=1, settings={"limits": {"connections": 300}}) as c:
        node = c.start().wait_ready().active[0]
        idle = livez_times(node, 1.0)
        held = []
        load = None
        try:
            load = subprocess.Popen([os.path.join(BIN, "leeward-bench"), "put", "--endpoints", node.client, "--inflight", "4000",
                                     "--total", "100000000", "--keys", "1000"], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for("the load", lambda: page(node)("rpc_requests_total", method="Put", code="OK") > 1000)
            for _ in range(400):  # idle ones, up to the limit and beyond
                s = socket.socket()
                s.connect((node.host, 2379))
                held.append(s)
            wait_for("connections to be refused", lambda: page(node)("rejected_total", reason="connections") > 0)
            overloaded = lambda: page(node)("rpc_in_flight") > 500
            wait_for("thousands in flight", overloaded)
            busy = livez_times(node, 2.0)
            wait_for("thousands still in flight", overloaded)
            expect(load.poll() is None, "the load ended early")
        finally:
            if load:
                load.kill()
                load.wait()
            for s in held:
                s.close()
        # The machine itself may be busy, and stand still once: what counts is the port's own delay, which on one
        # loop with the client port would be that of thousands of requests.
        median = lambda times: times[len(times) // 2]
        print(f"       /livez idle {median(idle) * 1000:.1f} ms, overloaded {median(busy) * 1000:.1f} ms, "
              f"worst {busy[-1] * 1000:.0f} ms of {len(busy)}")
        nine_of_ten = busy[len(busy) * 9 // 10]
        expect(median(busy) < max(0.1, 20 * median(idle)) and nine_of_ten < 2, f"idle {idle[-5:]}, busy {busy[-5:]}")


def without_quorum_the_node_lives_and_says_what_is_missing():
    with Cluster(active=3) as c:
        c.start(c.active[:1])
        node = c.active[0]
        wait_for("/livez", lambda: node.ok("/livez"))
        check_paths(node, {"/livez": 200, "/readyz": 503, "/health": 503, "/leader": 503, "/primary": 503, "/replica": 503,
                           "/standby": 503, "/standby/eligible": 503})
        def told():  # it answers before its storage is open, and knows more afterwards
            _, _, body = ask(node.admin, "/readyz")
            expect("[-]started failed: " in body and "[-]raft failed" in body, body)
            equal(json.loads(ask(node.admin, "/dr/status")[2])["state"], "waiting")
            equal(code(node, "/"), 200, "the console without quorum")
            told = console_document(node)
            expect(told["leewardctl"]["cluster_status"]["waiting_for"] and "raft" in [c["check"] for c in told["checks"] if not c["ok"]], str(told)[:400])
            metrics = page(node)
            equal((metrics("has_leader"), metrics("is_primary"), metrics("peer_lag_entries", peer="2")), (0, 1, math.inf))
            equal(metrics.types["leeward_peer_rtt_seconds"], "histogram")
        soon("it to be told everywhere", told)
        def said():
            status = ctl("--endpoints", node.client, "cluster", "status").stdout
            return "waiting" in status and "never heard" in status
        wait_for("leewardctl to say what it waits for", said)


def a_standby_whose_primary_died_is_unready_but_eligible():
    """On the shared cluster, of which it ends the primary region: but one the last there."""
    c = shared()
    standby = c.standby[0]
    for node in c.active:
        node.kill(wait=False)
    wait_for("the stream check to fail", lambda: code(standby, "/readyz") == 503, 30)
    check_paths(standby, {"/readyz?exclude=stream": 200, "/livez": 200})
    wait_for("/standby to fail", lambda: code(standby, "/standby?max_lag=1s") == 503)
    equal(code(standby, "/replica?lag=100ms"), 503)
    equal(code(standby, "/replica?lag=1h"), 200, "stale reads within a wide bound")
    status = lambda: json.loads(ask(standby.admin, "/dr/status")[2])
    wait_for("the silence to be told", lambda: not status()["primary_heard"], 15)
    expect(status()["silence_ms"] > 1000, str(status()))
    # What it is kept for: with the primary dead, the lag that counts is the one at the last answer.
    wait_for("it to be eligible", lambda: code(standby, "/standby/eligible") == 200)
    def kept_for():
        mine = ctl_json(c, "standby", "status", "--id", standby.id, endpoints=standby.client)["standbys"][0]
        lag = next(r for r in mine["reasons"] if r["check"] == "lag")
        expect(lag["ok"] and "at the last answer" in lag["detail"], str(lag))
        metrics = page(standby)
        expect(metrics("standby_lag_seconds", bound="high") > 1 and metrics("standby_promotion_eligible") == 1, "lag metric")
        expect(metrics("dr_primary_silence_seconds") > 1, "silence")
    soon("command and metrics to say so", kept_for)
    wait_for("the dead to be counted", lambda: page(standby)("cluster_members", role="primary", status="down") == 3)


def a_standby_that_is_not_heard_is_down_and_not_eligible():
    c = shared()
    frozen = next(n for n in c.standby if str(n.id) != n.status()["leader_id"])
    others = [n for n in c.nodes if n is not frozen]

    def said(node):
        rows = {int(s["id"]): s for s in ctl_json(c, "standby", "status", endpoints=node.client)["standbys"]}
        return rows[frozen.id]

    wait_for("all to call it eligible", lambda: all(said(n).get("promotion_eligible") for n in others))
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        for n in others:
            wait_for(f"{n.name} to say that it is not eligible", lambda n=n: not said(n).get("promotion_eligible"))
            def told(n=n):
                row = said(n)
                expect(not row.get("connected") and row.get("lag_writes") is None, str(row))
                expect(row["reasons"] and all(not r.get("ok") and "not heard for" in r["detail"] for r in row["reasons"]), str(row))
                table = ctl("--endpoints", n.client, "standby", "status").stdout
                line = next(l for l in table.splitlines() if l.split()[:1] == [str(frozen.id)])
                expect(re.search(r" down .* no +not heard for \d+ s$", line), line)
            soon(f"{n.name} to say why", told)
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    wait_for("it to be eligible again", lambda: all(said(n).get("promotion_eligible") for n in others))


def a_promotion_is_told_by_metrics_and_the_admin_port():
    """After the one before: the primary region of the shared cluster is dead."""
    c = shared()
    leader = wait_for("the standbys' leader", lambda: next((n for n in c.standby if page(n)("is_leader")), None))
    m = page(leader)
    equal((m("dr_known_loss_writes"), m("dr_known_loss_entries"), m("dr_known_loss_bytes")), (0, 0, 0))
    equal((m("dr_self_fence", mode="contact"), m("dr_self_fence", mode="lease")), (1, 0))
    equal(m("dr_fence_lease_remaining_seconds"), math.inf, "no lease runs out")
    equal(m("dr_promotions_total", kind="promotion", result="done"), 0)
    wait_for("the silence to be over", lambda: page(leader)("dr_estimated_rto_seconds") < 3)  # it is 5 s long
    # Of all of them: who comes later makes it another plan.
    plan = wait_for("an allowed plan", lambda: (p := json.loads(ask(leader.admin, "/dr/plan")[2]))["allowed"] and not p["silent"] and p, 15)
    equal(plan["known_loss_writes"], "0")
    expect(0.3 <= plan["estimated_rto_ms"] / 1000 < 3, f"{plan['estimated_rto_ms']} ms")
    wrong = ctl("--endpoints", leader.client, "dr", "promote", "--digest", "0" * 32, "--accept-data-loss", check=False)
    equal(wrong.returncode, 3, wrong.stderr)
    done = ctl_json(c, "dr", "promote", "--digest", plan["digest"], "--accept-data-loss", "--reason", "fire", endpoints=leader.client)
    leader = c.by_id(done["leader_id"])  # another one may lead by now
    m = wait_for("the promotion to be counted",
                 lambda: (p := page(leader))("dr_promotions_total", kind="promotion", result="done") == 1 and p("is_primary") and p)
    equal(sum(page(n)("dr_promotions_total", kind="promotion", result="refused") for n in c.standby), 1)
    took = sum(s["ms"] for s in done["steps"]) / 1000
    expect(abs(m("dr_last_promotion_duration_seconds") - took) < 0.1, f"{m('dr_last_promotion_duration_seconds')} s, {took} s")
    soon("no step to be under way", lambda: equal({v for (n, _), v in page(leader).samples.items() if n == "leeward_dr_promotion_in_progress"}, {0.0}, "steps"))
    def serves():
        m = page(leader)
        equal((m("dr_estimated_rto_seconds"), m("dr_known_loss_writes"), m("epoch")), (math.inf, 0, 2), "it serves now")
    soon("it to show that it serves", serves)
    soon("port and command to say the same", lambda: equal(
        without_time(json.loads(ask(leader.admin, "/dr/status")[2])), without_time(ctl_json(c, "dr", "status", endpoints=leader.client))))
    status = json.loads(ask(leader.admin, "/dr/status")[2])
    equal((status["promotion_id"], status["epoch"], len(status["history"])), (done["promotion_id"], "2", 1))
    equal((status["history"][0]["reason"], status["history"][0]["region"]), ("fire", "west"))
    equal(json.loads(ask(leader.admin, "/dr/plan")[2])["refusals"][0]["rule"], "serving")
