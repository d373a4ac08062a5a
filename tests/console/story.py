"""Two regions go through their faults, and the console is looked at in each. A test that is run alone goes through what comes before it."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

from leeward.claims import equal, expect, metric
from leeward.cluster import BIN, PATIENCE, ROOT, Cluster, FarNode, Failure, b64, ctl, wait_for
from browser import Browser
from figures import agree
from relay import Relay

WIDE, PHONE = 1280, 360
PICTURES = False
KEPT = {("healthy-primary", PHONE): "phone.png", ("lost-standby", WIDE): "lost-primary.png"}  # of --pictures
PLACE = os.path.join(ROOT, "server", "admin", "pictures")
SHOTS = os.path.join(ROOT, "build", "console-shots")
ZONE = "west-c<img src=x onerror=alert(1)>"  # whoever names a zone must not write the page


class Regions(Cluster):
    def __init__(self):
        super().__init__(active=3, standby=3, name="orders", settings={
            "limits": {"slow_request": "1ms"}, "storage": {"quota": "24MiB", "segment_size": "8MiB", "rocksdb": {"write_buffer": "4MiB"}},
            "dr": {"primary_silence": "3s"}})
        for node in self.nodes:
            node.__class__ = FarNode
        self.standby[2].zone = ZONE
        self.relay = Relay({n.name: (f"{n.host}:7380", n.peer) for n in self.nodes})

    def stop(self):
        for node in self.nodes:
            if node.alive:
                node.process.send_signal(signal.SIGCONT)
        super().stop()
        self.relay.close()

    def well(self):
        self.wait_ready(timeout=60)
        for node in self.standby:
            wait_for(f"{node.name} to be eligible", lambda node=node: node.ok("/standby/eligible"), 60)


class Story:
    """The deployment, its browser, and how far it has come."""

    def __init__(self):
        self.cluster, self.browser, self.done, self.kept, self.looks = None, None, [], {}, 0

    def reach(self, chapter):
        for name, go in CHAPTERS:
            if name not in self.done:
                go(self)
                self.done.append(name)
            if name == chapter:
                return self
        raise Failure(f"no chapter {chapter}")

    def page(self, node):
        """The page of that node, opened once."""
        name = node.name
        if name not in self.kept:
            self.kept[name] = self.browser.tell("open", name, url=f"http://{node.admin}/", width=WIDE)
        return lambda **options: {**self.browser.tell("look", name, **options), "at": time.time()}

    def until(self, node, what, holds):
        """What the page shows once that holds."""
        look = self.page(node)

        def looked():
            seen = look()
            return seen if holds(seen) else None
        return wait_for(f"the console of {node.name} to show {what}", looked, 30)

    def inspected(self, node, picture):
        """Figures beside leewardctl's; then the page wide and narrow, one light and one dark, in turn. Returns what it showed."""
        began = time.monotonic()
        seen = agree(self.page(node), node)
        took, name, least = time.monotonic() - began, node.name, 21
        self.looks += 1
        for width, dark in ((WIDE, self.looks % 2 == 0), (PHONE, self.looks % 2 == 1)):
            self.browser.tell("resize", name, width=width, dark=dark)
            audit = self.browser.tell("audit", name)
            where = f"{picture} at {width}, {'dark' if dark else 'light'}"
            equal(audit["faults"], [], where)
            equal(audit["violations"], [], where)
            expect(audit["passes"] > 15 and audit["texts"] > 60, f"{where}: little was looked at: {audit['passes']} rules, {audit['texts']} texts")
            least = min(least, audit["least"])
            self.browser.tell("shot", name, path=os.path.join(SHOTS, f"{picture}-{'phone' if width == PHONE else 'wide'}-{'dark' if dark else 'light'}.png"))
            if PICTURES and (picture, width) in KEPT:
                self.browser.tell("resize", name, width=width, height=1000 if width == WIDE else 800)
                self.browser.tell("shot", name, path=os.path.join(PLACE, KEPT[picture, width]), full=False)
        self.browser.tell("resize", name, width=WIDE, dark=False)
        complaints = self.browser.tell("complaints", name)
        equal([line for line in complaints["logged"] if "ERR_" not in line], [], f"{picture}: what the browser's log says")
        equal([url for url in complaints["asked"] if not url.startswith((f"http://{node.admin}/", "data:"))], [], f"{picture}: asked for elsewhere")
        equal(seen["markup"], 0, "elements that a name has made")
        print(f"   {picture}: {len(seen['figures'])} figures within {took:.1f} s; least contrast {least:.1f}", flush=True)
        return seen


STORY = Story()


def end():
    if STORY.browser:
        STORY.browser.close()
    if STORY.cluster:
        STORY.cluster.__exit__(None, None, None)


# --- chapters

def begin(s):
    os.makedirs(SHOTS, exist_ok=True)
    s.cluster = Regions()
    s.cluster.start()
    s.browser = Browser()
    print(f"   Chromium {s.browser.version}", flush=True)
    s.cluster.well()


def rehearse(s):
    drilled = s.cluster.standby[2]
    s.kept["drill"] = json.loads(ctl("--endpoints", drilled.client, "-o", "json", "dr", "drill", "--id", drilled.id, timeout=120).stdout)
    s.kept["drill time"] = time.time()


def steadily(s, seconds):
    """Twenty writes a second, so that every figure moves."""
    return subprocess.Popen([os.path.join(BIN, "leeward-bench"), "steady", "--endpoints", s.cluster.leader().client, "--rate", "20", "--connections", "1",
                             "--inflight", "30", "--prefix", "load/", "--keys", "100", "--seconds", str(seconds), "--quiet"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cut(s):
    c = s.cluster
    s.kept["leader"] = c.leader()
    for node in (s.kept["leader"], c.standby[0]):
        s.until(node, "no loss", lambda seen: seen["figures"].get("loss.writes", {}).get("value") == "0")
    c.relay.tell("* cut both")
    for i in range(12):
        s.kept["leader"].put(f"beyond/{i}", "x" * 100)


def heal(s):
    s.cluster.relay.tell("* heal")
    s.cluster.well()


def freeze(s):
    """A standby group without majority: the member that is left hears what is committed, and cannot commit it."""
    c = s.cluster
    s.kept["left"] = left = wait_for("a standby that follows", lambda: next(n for n in c.standby if int(n.status()["leader_id"]) not in (0, n.id)))
    s.page(left)
    for node in c.standby:
        if node is not left:
            node.process.send_signal(signal.SIGSTOP)
    for i in range(9):
        c.leader().put(f"missing/{i}", "x" * 100)
    s.until(left, "the missing writes", lambda seen: seen["figures"]["loss.writes"]["value"] == "9")


def lose(s):
    c = s.cluster
    for node in c.active:
        node.kill(wait=False)
    for node in c.active:
        node.process.wait()
    for node in c.standby:
        node.process.send_signal(signal.SIGCONT)
    s.kept["plan"] = wait_for("a plan that is allowed", lambda: (p := dr(c.standby, "plan"))["allowed"] and p, 40)


def promote(s):
    c = s.cluster
    s.kept["plan"] = wait_for("a plan that is allowed", lambda: (p := dr(c.standby, "plan"))["allowed"] and p, 40)
    s.kept["promoted"] = dr(c.standby, *s.kept["plan"]["next_command"].split()[2:], "--reason", "the region is lost")
    wait_for("the region to serve", lambda: c.standby[0].ok("/primary"), 20)


def come_back(s):
    c = s.cluster
    for node in c.active:
        node.start()
    for node in c.active:
        wait_for(f"{node.name} to be fenced", lambda node=node: json.loads(node.get("/dr/status")[1])["state"] == "fenced", 60)


def rejoin(s):
    c = s.cluster
    wait_for("the old region to go back", lambda: dr(c.active, "rejoin"), 40)
    for node in c.active:
        wait_for(f"{node.name} to follow", lambda node=node: node.ok("/standby/eligible"), 60)


def set_aside(s):
    c = s.cluster
    s.kept["aside"] = aside = wait_for("a follower of the new primary", lambda: next(n for n in c.standby if int(n.status()["leader_id"]) not in (0, n.id)))
    ctl("--endpoints", aside.client, "replica", "isolate", "--id", aside.id, "--reason", "a test")


def take_back(s):
    aside = s.kept["aside"]
    ctl("--endpoints", aside.client, "replica", "rejoin", "--id", aside.id, timeout=60)
    wait_for("the member to be back", lambda: aside.ok("/readyz"), 40)


def fill(s):
    node = s.cluster.standby[0]
    for i in range(400):
        try:
            node.sent_again("/v3/kv/put", {"key": b64(f"fill{i % 20}"), "value": b64(os.urandom(96 << 10).hex())})
        except Failure as refused:
            if "space exceeded" in str(refused):
                return
            raise
    raise Failure("nothing was refused")


CHAPTERS = [("begun", begin), ("rehearsed", rehearse), ("cut", cut), ("healed", heal), ("frozen", freeze), ("lost", lose), ("promoted", promote),
            ("fenced", come_back), ("following", rejoin), ("aside", set_aside), ("back", take_back), ("full", fill)]


def dr(nodes, *args):
    return json.loads(ctl("--endpoints", ",".join(n.client for n in nodes), "-o", "json", "dr", *args, timeout=90).stdout)


def value(seen, name):
    return seen["figures"][name]["value"]


def near(got, wanted, within, what):
    expect(abs(float(got) - wanted) <= within, f"{what}: {got} is shown, {wanted} was said; {within} may lie between")


# --- tests

def the_page_comes_with_a_policy_and_asks_for_nothing_elsewhere():
    s = STORY.reach("begun")
    node = s.cluster.active[0]
    s.page(node)()
    opened = s.kept[node.name]
    equal(opened["status"], 200)
    policy = opened["headers"]["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        expect(part in policy, policy)
    expect("unsafe" not in policy, policy)
    # The browser holds to it: what would be planted does not run.
    done = s.browser.tell("evaluate", node.name, script="""async () => {
        const planted = document.createElement("script");
        planted.textContent = "window.planted = 1";
        document.body.append(planted);
        const styled = document.createElement("p");
        styled.setAttribute("style", "color: rgb(1, 2, 3)");
        document.body.append(styled);
        const from = await fetch("http://127.0.0.1:1/").then(() => "reached", () => "refused");
        const told = [window.planted, getComputedStyle(styled).color, from];
        planted.remove();
        styled.remove();
        return told;
    }""")["value"]
    expect(done[0] is None and done[1] != "rgb(1, 2, 3)" and done[2] == "refused", str(done))
    logged = s.browser.tell("complaints", node.name)["logged"]
    equal(sum("directive" in line for line in logged), 3, f"violations that were meant: {logged}")


def a_healthy_deployment_is_shown_at_both_regions_while_it_is_written_to():
    s = STORY.reach("rehearsed")
    c = s.cluster
    writer = steadily(s, 40)
    try:
        for node, picture in ((c.leader(), "healthy-primary"), (c.standby[0], "healthy-standby")):
            s.until(node, "slow requests" if not node.standby else "the drill", lambda seen: seen["slow"] if not node.standby else "drill.age_ms" in seen["figures"])
            seen = s.inspected(node, picture)
            equal(seen["verdict"], "Region east serves. Region west follows; 3 of 3 members may be promoted.")
            equal(seen["problems"], [])
            equal(seen["roles"], {"Region east": "primary", "Region west": "standby"})
            expect(seen["title"].startswith("✓ orders"), seen["title"])
            equal(value(seen, "serving"), "east")
            equal(len(seen["charts"]), 3)
            for chart in seen["charts"]:
                expect(re.search(r"Lag of member \d+: .* to .* now", chart), chart)
            expect(all(seen["bands"]), "a chart without a band")
            expect(ZONE in seen["body"], "a zone's name as it is")
            near(value(seen, "drill.rto_ms"), s.kept["drill"]["rto_ms"], 0.01, "the drill's time")
            near(value(seen, "drill.age_ms"), (seen["at"] - s.kept["drill time"]) * 1000, 3000, "the drill's age")
            if node is c.leader():
                expect(any("Put" in line and "waiting for consensus" in line for line in seen["slow"]), str(seen["slow"][:2]))
            expect(seen["events"], "no events")
    finally:
        writer.kill()
        writer.wait()


def charts_move_and_rows_stay_where_they_are():
    s = STORY.reach("rehearsed")
    node = s.cluster.standby[0]
    look = s.page(node)
    rows = '[...document.querySelectorAll(".member, .region, .figures > div, .events > li, .stage")]'
    marks = s.browser.tell("evaluate", node.name, script=f"() => {rows}.map((row, i) => row.mark = i)")["value"]
    expect(len(marks) > 25, f"{len(marks)} rows")
    before = look()["bands"]
    after = look(documents=2)["bands"]
    expect(len(before) == 3 and all(a != b for a, b in zip(before, after)), "a chart stands still")
    equal(s.browser.tell("evaluate", node.name, script=f"() => {rows}.map((row) => row.mark)")["value"], marks, "rows, of which none was made anew")


def everything_can_be_reached_by_keys_and_keeps_the_focus():
    s = STORY.reach("rehearsed")
    node = s.cluster.standby[0]
    s.page(node)()
    s.browser.tell("evaluate", node.name, script="() => document.activeElement.blur()")
    stops = [s.browser.tell("press", node.name, key="Tab") for _ in range(6)]
    equal([stop["tag"] for stop in stops], ["A", "BUTTON", "SUMMARY", "SUMMARY", "SUMMARY", "SUMMARY" if "slow" in stops[5]["text"] else stops[5]["tag"]])
    for stop in stops:
        expect(stop["outline"], f"no sign of the focus at {stop}")
    while stops[-1]["id"] != "events" and len(stops) < 40:
        stops.append(s.browser.tell("press", node.name, key="Tab"))
    equal(stops[-1]["id"], "events", "the list that scrolls can be reached")
    # A reason is opened and stays open, with the focus on it, while documents come.
    s.browser.tell("evaluate", node.name, script="() => document.querySelector('.member summary').focus()")
    equal(s.browser.tell("press", node.name, key="Enter")["open"], True)
    s.page(node)(documents=2)
    still = s.browser.tell("press", node.name, key="Shift")
    equal((still["tag"], still["open"]), ("SUMMARY", True), "focus after two more documents")
    expect("armed" in s.browser.tell("now", node.name)["body"], "reasons are shown")
    s.browser.tell("press", node.name, key="Enter")


def the_page_can_be_paused():
    s = STORY.reach("rehearsed")
    node = s.cluster.standby[0]
    s.page(node)()
    s.browser.tell("evaluate", node.name, script="() => document.getElementById('pause').focus()")
    equal(s.browser.tell("press", node.name, key="Space")["pressed"], "true")
    seen = s.browser.tell("now", node.name)
    equal(seen["live"], "paused")
    expect("paused" in seen["status"], seen["status"])
    wait_for("two more documents", lambda: s.browser.tell("now", node.name)["received"] >= seen["received"] + 2)
    equal(s.browser.tell("now", node.name)["document"], seen["document"], "documents shown while paused")
    equal(s.browser.tell("press", node.name, key="Space")["pressed"], "false")
    s.page(node)()
    equal(s.browser.tell("now", node.name)["live"], "live")


def a_node_that_falls_silent_is_said_to_be_and_comes_back_by_itself():
    s = STORY.reach("rehearsed")
    node = s.cluster.standby[1]
    s.page(node)()
    node.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        seen = wait_for("the page to say so", lambda: (now := s.browser.tell("now", node.name))["live"] == "broken" and now, 20)
        took = time.monotonic() - began
        expect(took < 4 * PATIENCE, f"it took {took:.1f} s")
        expect("No news of this node" in seen["broken"] and "as of" in seen["broken"], seen["broken"])
        expect("stale" in seen["status"] and "stale" in seen["title"], f"{seen['status']} {seen['title']}")
        audit = s.browser.tell("audit", node.name)
        equal((audit["faults"], audit["violations"]), ([], []))
        s.browser.tell("shot", node.name, path=os.path.join(SHOTS, "stale-wide-light.png"))
    finally:
        node.process.send_signal(signal.SIGCONT)
    wait_for("the page to be live again", lambda: (now := s.browser.tell("now", node.name))["live"] == "live" and now["broken"] == "", 20)
    node.kill(signal.SIGTERM)
    wait_for("the page to say so", lambda: s.browser.tell("now", node.name)["live"] == "broken", 20)
    node.start()
    s.cluster.well()
    wait_for("the page to be live with the next process", lambda: s.browser.tell("now", node.name)["live"] == "live", 20)
    s.browser.tell("complaints", node.name)  # of a connection that broke


def streams_are_bounded_and_a_flood_of_scrapes_does_not_stop_one():
    s = STORY.reach("rehearsed")
    node = s.cluster.active[1]
    s.page(node)()
    streams = []
    try:
        for _ in range(15):  # beside the page's
            connection = http.client.HTTPConnection(node.admin, timeout=20)
            connection.request("GET", "/console/events")
            streams.append((connection, connection.getresponse()))
        equal([answer.status for _, answer in streams], [200] * 15)
        status, text = node.get("/console/events")
        equal(status, 503)
        expect("16 consoles are open" in text, text)
        over, asked = threading.Event(), []

        def scrape():
            while not over.is_set():
                asked.append(node.get("/metrics", timeout=20)[0])
        threads = [threading.Thread(target=scrape) for _ in range(16)]
        for thread in threads:
            thread.start()
        try:
            before = s.browser.tell("now", node.name)["document"]
            began = time.monotonic()
            s.page(node)(documents=4)
            took = time.monotonic() - began
        finally:
            over.set()
            for thread in threads:
                thread.join()
        print(f"   {len(asked)} scrapes in {took:.1f} s, in which four documents came", flush=True)
        expect(took < 6 * PATIENCE, f"four documents took {took:.1f} s, from {before}")
        expect(len(asked) > 10 and set(asked) == {200}, f"{len(asked)} scrapes")
    finally:
        for connection, _ in streams:
            connection.close()
    wait_for("a place to be free", lambda: s.browser.tell("evaluate", node.name, script="""async () => {
        const ended = new AbortController();
        const answer = await fetch("console/events", { signal: ended.signal });
        ended.abort();
        return answer.status;
    }""")["value"] == 200, 20)
    # The same over HTTP/2.
    done = subprocess.run(["curl", "-sN", "--http2-prior-knowledge", "--max-time", "3.5", "-D", "-", f"http://{node.admin}/console/events"], capture_output=True, text=True, check=False)
    expect(done.stdout.startswith("HTTP/2 200") and done.stdout.count("data: {") >= 3, done.stdout[:300])
    for version in ("--http1.1", "--http2-prior-knowledge"):
        done = subprocess.run(["curl", "-sI", version, "--max-time", "10", f"http://{node.admin}/console/events"], capture_output=True, text=True, check=False)
        expect(done.returncode == 0 and " 200" in done.stdout and "text/event-stream" in done.stdout, f"HEAD: {done.returncode} {done.stdout[:300]}")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/console/events", "/console.js"):
            connection = http.client.HTTPConnection(node.admin, timeout=20)
            connection.request(method, path, body="x=1")
            equal(connection.getresponse().status, 405, f"{method} {path}")
            connection.close()


def hostile_hosts_and_paths_are_refused_and_not_echoed():
    def ask(node, path, host, method="GET"):
        """(status, body) of a request as written; None: the connection was closed."""
        with socket.create_connection((node.host, 8080), timeout=20) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode("latin-1") + b"".join(b"Host: " + h.encode("latin-1") + b"\r\n" for h in host) + b"\r\n")
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return (int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2].decode("latin-1")) if answer else None
    with Cluster(active=1, settings={"admin": {"insecure": False}}) as c:  # operators by loopback alone
        node = c.start().active[0]
        c.wait_ready()
        for host in (node.admin, node.host, "localhost:8080", "[::1]:8080"):
            equal(ask(node, "/", [host])[0], 200, host)
        for host in (["evil.example"], ["evil.example:8080"], [f"{node.host}.evil.example"], [node.host, "evil.example"], ["<script>alert(1)</script>"], ["\xff\xfe"], ["x" * 5000]):
            for path in ("/", "/console/events", "/dr/status", "/debug/config", "/readyz?verbose"):
                status, body = ask(node, path, host)
                equal(status, 403, f"{path} by {host}")
                expect(not any(h in body for h in host), body[:200])
            equal(ask(node, "/livez", host)[0], 200, "health is for all")
        for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/console.js/..", "/console/events/", "/CONSOLE.JS", "//", "/console.css%00", "/<script>alert(1)</script>",
                     "/%3Cscript%3Ealert(1)%3C/script%3E", "/\xff\xfe", "/%zz", "/%", "/" + "a" * 30000, "/" + "../" * 5000, "*", "http://evil.example/"):
            status, body = ask(node, path, [node.admin])
            expect(status in (400, 404), f"{path[:60]}: {status}")
            expect("script>" not in body and "etc/passwd" not in body and len(body) < 400, body[:200])
        expect(ask(node, "/" + "a" * 70000, [node.admin])[0] == 431, "a header that is too large")
        equal(ask(node, "/console/events", [node.admin], "HEAD")[0], 200)
        expect(node.ok("/readyz"), "the node goes on")


def a_standby_region_that_is_cut_off_lags_by_what_was_written():
    s = STORY.reach("cut")
    leader, standby = s.kept["leader"], s.cluster.standby[0]
    s.until(leader, "what the other region lacks", lambda seen: seen["figures"]["loss.writes"]["value"] == "12")
    s.until(standby, "a silent primary", lambda seen: "is not heard" in seen["verdict"] and float(value(seen, "silence_ms")) > 4000)
    seen = s.inspected(leader, "cut-primary")
    equal(value(seen, "loss.writes"), str(int(metric(leader, 'source_lag_writes{standby="set"}'))))
    equal(seen["verdict"], "Region east serves. Region west is not heard.")
    expect(len(seen["eligible"]) == 3 and all("may not be promoted: not heard for" in line for line in seen["eligible"]), str(seen["eligible"]))
    expect(any("Not healthy" in p and "11" in p and "13" in p for p in seen["problems"]), str(seen["problems"]))
    seen = s.inspected(standby, "cut-standby")
    near(value(seen, "loss.newer_ms"), float(value(seen, "silence_ms")), 0.001, "since when nothing was heard")
    highs = [float(value(seen, f"member.{n.id}.lag_high_ms")) for n in s.cluster.standby]
    expect(min(highs) > 4000, str(highs))
    expect(any("stream" in p for p in seen["problems"]), str(seen["problems"]))
    expect(any("Next: leewardctl dr plan" in p for p in seen["problems"]), str(seen["problems"]))


def a_standby_group_without_majority_names_what_it_cannot_commit():
    s = STORY.reach("healed").reach("frozen")
    left = s.kept["left"]
    others = [n for n in s.cluster.standby if n is not left]
    named = lambda seen: all(any(f"{n.id} ({n.name})" in p for p in seen["problems"]) for n in others)
    s.until(left, "who is silent", named)  # each falls silent by its own last report
    seen = s.inspected(left, "frozen-standby")
    equal(value(seen, "loss.writes"), "9")
    equal(metric(left, "dr_known_loss_writes"), 9.0, "the metric")
    equal(metric(left, "dr_known_loss_bytes"), float(value(seen, "loss.bytes")), "the metric")
    equal(metric(left, "dr_known_loss_entries"), float(value(seen, "loss.entries")), "the metric")
    expect(named(seen), str(seen["problems"]))


def a_lost_primary_is_shown_with_the_loss_that_a_plan_names():
    s = STORY.reach("lost")
    c, left = s.cluster, s.kept["left"]
    seen = s.until(left, "that nobody serves", lambda seen: "No region is known to serve" in seen["verdict"] or "is not heard" in seen["verdict"])
    seen = s.inspected(left, "lost-standby")
    plan = dr(c.standby, "plan")
    equal(value(seen, "loss.writes"), plan["known_loss_writes"], "known loss beside the plan's")
    equal(value(seen, "loss.entries"), plan["known_loss_entries"])
    equal(value(seen, "loss.bytes"), plan["known_loss_bytes"])
    expect(int(plan["known_loss_writes"]) == 9, str(plan))
    leads = next(n for n in c.standby if int(n.status()["leader_id"]) == n.id)
    page = s.page(leads)
    before, seen, after = dr([leads], "plan"), page(documents=2), dr([leads], "plan")
    near(value(seen, "loss.estimated_rto_ms"), after["estimated_rto_ms"], 50, "the time to serve")
    if leads is left:
        expect(before["unknown_since_ms_ago"] - 600 <= float(value(seen, "loss.newer_ms")) <= after["unknown_since_ms_ago"] + 600, "since when nothing is known")
    equal(seen["roles"]["Region west"], "standby")


def a_promoted_region_serves_in_the_next_epoch_and_names_the_record():
    s = STORY.reach("promoted")
    node = s.cluster.standby[0]
    s.until(node, "that it serves", lambda seen: "Region west serves" in seen["verdict"])
    seen = s.inspected(node, "promoted-primary")
    equal((value(seen, "serving"), value(seen, "epoch"), value(seen, "state")), ("west", "2", "serving"))
    expect(any("Epoch 2: region west, unplanned" in line and "announced 9 writes" in line and "the region is lost" in line for line in seen["history"]), str(seen["history"]))
    equal(seen["roles"]["Region west"], "primary")


def the_old_region_is_shown_fenced_and_what_to_type_next():
    s = STORY.reach("fenced")
    node = s.cluster.active[0]
    s.until(node, "that it is fenced", lambda seen: seen["roles"].get("Region east") == "fenced")
    seen = s.inspected(node, "fenced-old-primary")
    equal((value(seen, "state"), value(seen, "epoch"), value(seen, "newest_epoch"), value(seen, "serving")), ("fenced", "1", "2", "west"))
    expect(any("Next: leewardctl dr rejoin" in p for p in seen["problems"]), str(seen["problems"]))
    expect(any("a newer epoch than 1 exists" in p for p in seen["problems"]), str(seen["problems"]))
    expect("nothing may be promoted from here" in seen["body"], "a fenced region's loss")


def a_region_that_came_back_follows_with_its_ledger_and_the_loss_is_measured():
    s = STORY.reach("following")
    node = s.cluster.active[0]
    s.until(node, "that it follows", lambda seen: seen["verdict"] == "Region west serves. Region east follows; 3 of 3 members may be promoted.")
    seen = s.inspected(node, "following-old-primary")
    expect(int(value(seen, "ledger_entries")) > 0, "what was put aside")
    s.until(s.cluster.standby[0], "the measured loss", lambda seen: any("measured 9 writes" in line for line in seen["history"]))


def a_member_that_is_set_aside_is_named_with_the_reason():
    s = STORY.reach("aside")
    aside = s.kept["aside"]
    other = next(n for n in s.cluster.standby if n is not aside)
    s.until(other, "a member set aside", lambda seen: any("isolated" in state and "a test" in state for state in seen["states"]))
    seen = s.inspected(aside, "isolated-member")
    expect(any("isolated by an operator: a test" in p for p in seen["problems"]), str(seen["problems"]))


def a_state_beyond_its_quota_is_an_alarm():
    s = STORY.reach("full")
    node = s.cluster.standby[0]
    s.until(node, "the alarm", lambda seen: any("NOSPACE alarm" in p for p in seen["problems"]))
    s.inspected(node, "nospace-primary")


def a_stop_ends_the_streams_and_takes_no_longer_for_them():
    s = STORY.reach("full")
    node = s.cluster.active[2]
    connection = http.client.HTTPConnection(node.admin, timeout=30)
    connection.request("GET", "/console/events")
    answer = connection.getresponse()
    expect(answer.readline().startswith(b"retry"), "a stream")
    began = time.monotonic()
    code = node.kill(signal.SIGTERM)
    took = time.monotonic() - began
    rest = answer.read()
    connection.close()
    equal(code, 0, "exit code")
    expect(rest.endswith(b"\n\n"), f"a stream that was cut off: {rest[-60:]}")
    expect("data: {" in rest.decode(), "no document")
    print(f"   stopped in {took:.1f} s with a stream open", flush=True)


TESTS = [the_page_comes_with_a_policy_and_asks_for_nothing_elsewhere,
         a_healthy_deployment_is_shown_at_both_regions_while_it_is_written_to,
         charts_move_and_rows_stay_where_they_are,
         everything_can_be_reached_by_keys_and_keeps_the_focus,
         the_page_can_be_paused,
         a_node_that_falls_silent_is_said_to_be_and_comes_back_by_itself,
         streams_are_bounded_and_a_flood_of_scrapes_does_not_stop_one,
         hostile_hosts_and_paths_are_refused_and_not_echoed,
         a_standby_region_that_is_cut_off_lags_by_what_was_written,
         a_standby_group_without_majority_names_what_it_cannot_commit,
         a_lost_primary_is_shown_with_the_loss_that_a_plan_names,
         a_promoted_region_serves_in_the_next_epoch_and_names_the_record,
         the_old_region_is_shown_fenced_and_what_to_type_next,
         a_region_that_came_back_follows_with_its_ledger_and_the_loss_is_measured,
         a_member_that_is_set_aside_is_named_with_the_reason,
         a_state_beyond_its_quota_is_an_alarm,
         a_stop_ends_the_streams_and_takes_no_longer_for_them]
