#!/usr/bin/env python3
"""A region is lost, the other one promoted; what was lost comes back, is armed and takes over again: in a circle, under
load, while single members are killed and paused.

usage: tests/e2e/cycles.py [--cycles N] [--seed N] [--keep DIRECTORY]

The clients write each key once and note what they were told; the state, the ledgers and the history of promotions are
held against that after every cycle (I6, I7, I15). The seed decides faults and when they fall, not how processes are
scheduled.
"""
import argparse
import base64
import collections
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

if __name__ == "__main__":
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from leeward.claims import equal, expect  # noqa: E402
from leeward.cluster import Cluster, Failure, b64, ctl, wait_for  # noqa: E402

CLIENTS = 4
WAYS = ("at once", "paused", "away", "leader lost")  # what the surviving region does when the other one dies

# One call: begin and end by the monotonic clock, what was written or read, what came of it.
Call = collections.namedtuple("Call", "client begin end kind number outcome epoch revision told")


class Clients:
    """Each writes one key after the other, with a key of its own that it overwrites in the same transaction."""

    def __init__(self, cluster, seed):
        self.addresses = [(n.host, 2379) for n in cluster.nodes]
        self.calls, self.lock = [], threading.Lock()
        self.over, self.hold, self.idle = False, threading.Event(), threading.Semaphore(0)
        self.go = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i, random.Random(seed * 100 + i))) for i in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def run(self, client, chance):
        at, connection, number = client % len(self.addresses), None, 0
        while not self.over:
            if self.hold.is_set():
                self.idle.release()
                self.go.wait()
                continue
            time.sleep(chance.uniform(0.005, 0.025))  # the rate
            read = chance.random() < 0.1 and number > 0
            if not read:
                number += 1
            begin = time.monotonic()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(*self.addresses[at], timeout=10)
                    connection.connect()
            except OSError:  # nothing was sent
                connection, at = None, (at + 1) % len(self.addresses)
                continue
            outcome, epoch, revision, told = "unknown", 0, 0, None
            try:
                connection.request("POST", "/v3/kv/range" if read else "/v3/kv/txn", self.body(client, number, read))
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status == 200:
                    outcome, header = "ok", answer["header"]
                    epoch, revision = int(header["raft_term"]) >> 32, int(header["revision"])
                    told = read and [base64.b64decode(kv["value"]).decode() for kv in answer.get("kvs", [])]
                elif answer.get("code") in (8, 14) and "timed out" not in answer["message"]:
                    outcome = "refused"  # certainly not done
                told = told if response.status == 200 else answer.get("message")
            except (OSError, http.client.HTTPException, ValueError) as error:
                told = str(error)
            call = Call(client, begin, time.monotonic(), "read" if read else "write", number, outcome, epoch, revision, told)
            with self.lock:
                self.calls.append(call)
            if outcome != "ok":
                connection.close()
                connection, at = None, (at + 1) % len(self.addresses)

    @staticmethod
    def body(client, number, read):
        if read:
            return json.dumps({"key": b64(f"newest/{client}")})
        put = lambda key: {"request_put": {"key": b64(key), "value": b64(str(number))}}
        return json.dumps({"success": [put(f"w/{client}/{number}"), put(f"newest/{client}")]})

    def held(self):
        """All calls so far; none is under way until resume()."""
        self.go.clear()
        self.hold.set()
        for _ in self.threads:
            expect(self.idle.acquire(timeout=60), "a call never ended")
        return list(self.calls)

    def resume(self):
        self.hold.clear()
        self.go.set()

    def last(self):
        with self.lock:
            return next((c for c in reversed(self.calls) if c.outcome == "ok" and c.kind == "write"), None)

    def stop(self):
        self.over = True
        self.resume()
        for t in self.threads:
            t.join()


class Trouble:
    """Kills and pauses members, one at a time; they are all back when it is over."""

    def __init__(self, cluster, seed):
        self.cluster, self.always, self.aimed = cluster, random.Random(seed), random.Random(seed + 1)
        self.off, self.threads, self.one = threading.Event(), [], threading.Lock()
        self.done, self.errors = collections.Counter(), []

    def on(self):
        """One blow after the other, until it is over."""
        def go_on():
            while not self.off.wait(self.always.uniform(0, 0.5)):
                self.strike(*self.choice(self.always))
        self.begin(go_on)

    def at(self, most):
        """A blow within `most` seconds from now, for the sake of what begins now; none when one falls anyway."""
        when, what = self.aimed.uniform(0, most), self.choice(self.aimed)
        self.begin(lambda: self.off.wait(when) or self.strike(*what, wait=False))

    def kill(self, node):
        away = self.aimed.uniform(0, 2)
        self.begin(lambda: self.strike(node, "kill", away))

    def choice(self, chance):
        how = chance.choice(("kill", "pause"))
        return chance.choice(self.cluster.nodes), how, chance.uniform(0, 1.5) if how == "kill" else chance.uniform(0.2, 2.5)

    def begin(self, what):
        def run():
            try:
                what()
            except Exception as error:  # told by over(), in the thread of the test
                self.errors.append(error)
        self.off.clear()
        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def strike(self, node, how, away, wait=True):
        if not self.one.acquire(blocking=wait):
            return
        try:
            self.done[how] += 1
            if how == "kill":
                node.kill()
                self.off.wait(away)
                node.start()
            else:
                node.process.send_signal(signal.SIGSTOP)
                self.off.wait(away)
                node.process.send_signal(signal.SIGCONT)
            wait_for(f"{node.name} to be up", lambda: node.ok("/livez"), 30)
        finally:
            self.one.release()

    def over(self):
        self.off.set()
        for t in self.threads:
            t.join()
        self.threads = []
        if self.errors:
            raise self.errors.pop()


class Story:
    def __init__(self, cluster, chance):
        self.c, self.chance = cluster, chance
        self.clients = Clients(cluster, chance.randrange(1 << 30))
        self.trouble = Trouble(cluster, chance.randrange(1 << 30))
        self.home, self.away = cluster.active, cluster.standby
        self.epochs = []        # the history of promotions, as told last
        self.ledgers = {}       # (region, ledger) -> its keys
        self.judged = 0         # calls whose order was judged
        self.acknowledged = {}  # client -> its newest write of those
        self.newest = 0         # the highest revision of those that had ended
        self.figures = []       # of each promotion

    # leewardctl, as an operator under trouble would use it: again, until it is done.

    def dr(self, nodes, *args):
        try:
            done = ctl("--endpoints", ",".join(n.client for n in nodes), "-o", "json", "dr", *args, check=False, timeout=90)
        except subprocess.TimeoutExpired:
            raise Failure(f"leewardctl dr {' '.join(args)} took over 90 s") from None
        return json.loads(done.stdout) if done.returncode == 0 else None, f"exit {done.returncode}: {done.stderr.strip()}"

    def history(self, nodes):
        answer, error = self.dr(nodes, "status", "--history")
        expect(answer is not None, error)
        return answer["history"]

    def none_died(self):
        """Only this test ends processes, by SIGKILL."""
        died = [f"{n.name} ({n.process.returncode})" for n in self.c.nodes if not n.alive and n.process.returncode != -signal.SIGKILL]
        if died:
            raise SystemError(f"ended by themselves: {', '.join(died)}")
        return True

    def all_ready(self):
        self.none_died()
        for n in self.c.nodes:
            code, text = n.get("/readyz")
            expect(code == 200, f"{n.name}: {text}")
        return True

    def until(self, what, attempt, timeout=60):
        """attempt() gives (result, error): until there is a result; says the last errors when there is none."""
        errors = []

        def again():
            self.none_died()
            result, error = attempt()
            if result is None and (not errors or errors[-1] != error):
                errors.append(error)
            return result
        try:
            return wait_for(what, again, timeout, every=0.1)
        except Failure as failure:
            raise Failure(f"{failure}; it was told {errors[-6:]}") from None

    def promoted(self, nodes):
        """The record of the change that made the region of `nodes` primary after those known, if there is one."""
        record = self.history(nodes)[-1:]
        fresh = record and record[0]["region"] == nodes[0].region and (not self.epochs or int(record[0]["epoch"]) > int(self.epochs[-1]["epoch"]))
        return record[0] if fresh else None

    # One cycle.

    def lose(self, way):
        """All of the primary region dies; the other one lacks what was acknowledged meanwhile."""
        wait_for("the load to go on", lambda: self.clients.last() and self.clients.last().begin > self.began + 0.3, 30)
        time.sleep(self.chance.uniform(0.2, 1.0))  # chance, no wait for a condition, like those below
        led = [n for n in self.away if any(m["state"] == "leader" and int(m["id"]) == n.id for m in n.status()["members"])]
        behind = {"at once": [], "leader lost": led}.get(way, self.away)  # the leader's members hear on, so they know what is missing
        for n in behind:
            n.process.send_signal(signal.SIGKILL if way == "away" else signal.SIGSTOP)
        if behind:
            since = time.monotonic()
            time.sleep(self.chance.uniform(0.3, 0.9))
            wait_for("a write that they lack", lambda: self.clients.last().begin > since, 30)
        for n in self.chance.sample(self.home, len(self.home)):
            n.process.kill()
        for n in self.home:
            n.process.wait(timeout=40)
        for n in behind:
            if way == "paused":
                n.process.send_signal(signal.SIGCONT)
            else:
                n.kill()
                n.start()

    def promote(self):
        if self.chance.random() < 0.5:
            self.trouble.kill(self.chance.choice(self.away))
        plans = []

        def attempt():
            plan, error = self.dr(self.away, "plan")
            if plan is None:
                return None, error
            if not plan["allowed"]:
                done = self.promoted(self.away) if [r["rule"] for r in plan["refusals"]] == ["serving"] else None
                return done, str(plan["refusals"])
            plans.append(plan)
            began = time.monotonic()
            done, error = self.dr(self.away, "promote", "--digest", plan["digest"], "--accept-data-loss", "--reason", "lost")
            self.took = (time.monotonic() - began) * 1000
            return done, error
        done = self.until("the promotion", attempt)
        return plans[-1], int(done["epoch"])

    def come_back(self):
        for n in self.home:
            n.start()
        wait_for("the old primary to be fenced", lambda: self.none_died() and all(n.status()["role"] == "fenced" for n in self.home), 60)
        self.trouble.on()
        self.trouble.at(0.3)
        done = self.until("the old primary to follow", lambda: self.dr(self.home, "rejoin"), 90)
        equal(done["state"], "following", "after dr rejoin")
        self.armed(self.home)

    def armed(self, nodes):
        def attempt():
            status, error = self.dr(self.c.nodes, "status")
            there = status and status["armed_region"] == nodes[0].region
            return (status, "") if there else (None, error if status is None else f"armed: {status['armed_region']}")
        return self.until(f"{nodes[0].region} to be armed", attempt, 90)

    def switch_over(self):
        paused = None
        time.sleep(self.chance.uniform(0, 2))  # trouble goes on
        self.trouble.at(0.1)

        def attempt():
            nonlocal paused
            done, error = self.dr(self.c.nodes, "switchover", "--to", self.home[0].region, "--reason", "home again")
            if done is not None:
                paused = done["paused_ms"]
                return done, ""
            return self.promoted(self.home), error  # a command may fail whose switchover is done
        self.until("the switchover", attempt, 90)
        return paused

    def cycle(self, number, way, go_home):
        self.began = time.monotonic()
        self.lose(way)
        plan, epoch = self.promote()
        dark = self.clients_back(epoch)
        self.come_back()
        paused = None
        if go_home:
            paused = self.switch_over()
        else:
            self.home, self.away = self.away, self.home
        self.trouble.over()
        wait_for("all nodes to be ready", self.all_ready, 60)
        self.armed(self.away)
        took = time.monotonic() - self.began
        measured = self.judge(epoch, plan)
        hit = self.trouble.done
        handed = f"switchover paused {paused:.0f} ms" if paused is not None else "switchover seen done" if go_home else "no switchover"
        print(f"       cycle {number}: {took:.1f} s; other region {way}; promote {self.took:.0f} ms, clients dark {dark:.1f} s; lost: "
              f"announced {self.figures[-1]['announced']}, measured {measured}; {handed}; {hit['kill']} kills, {hit['pause']} pauses so far",
              flush=True)

    def clients_back(self, epoch):
        """How long no write was acknowledged, in seconds."""
        first = wait_for("a write in the new epoch", lambda: next((c for c in list(self.clients.calls) if c.kind == "write" and c.epoch >= epoch), None))
        return first.end - max(c.end for c in list(self.clients.calls) if c.outcome == "ok" and c.epoch < epoch)

    # What must hold.

    def judge(self, epoch, plan):
        calls = self.clients.held()
        wait_for("equal hashes on all six", lambda: len({(m["state_hash_index"], m["state_hash"]) for n in self.c.nodes
                                                         for m in n.status()["members"] if int(m["id"]) == n.id}) == 1, 60)
        self.order(calls)
        # The record of a promotion is complete when the old primary has said what it left behind.
        def told():
            all_of = [self.history([n]) for n in self.c.nodes]
            expect(all(t == all_of[0] for t in all_of), f"regions tell different histories: {all_of}")
            return all_of[0] if all("measured_loss_writes" in e for e in all_of[0]) else None
        history = wait_for("the measured losses in all histories", told)
        equal(history[:len(self.epochs)], self.epochs, "the history as it was before")
        expect(all(int(a["epoch"]) < int(b["epoch"]) for a, b in zip(history, history[1:])), f"epochs do not rise: {history}")
        self.epochs = history
        ledgers = wait_for("whole ledgers", lambda: (self.put_aside(),))[0]
        for name, keys in self.ledgers.items():
            equal(ledgers.get(name, ("gone", None))[0], keys, f"ledger {name} as it was before")
        fresh = {name: of for name, of in ledgers.items() if name not in self.ledgers}
        self.ledgers = {name: keys for name, (keys, _) in ledgers.items()}
        expect(len(fresh) <= 1, f"a loss, and several ledgers: {fresh}")
        kept = next((of for _, (_, of) in fresh.items()), None)
        change = next(e for e in history if int(e["epoch"]) == epoch)
        self.holds(calls, wait_for("the state", self.state), history, change, set().union(*(keys for keys, _ in fresh.values())))
        measured = int(kept["writes"]) if kept else 0
        announced = int(change["announced_loss_writes"])
        expect(int(change["measured_loss_writes"]) == measured and not change["measured_loss_open"], f"lost were {measured} writes: {change}")
        equal(int(plan["known_loss_writes"]), announced, "the loss in the history, and in the plan that was accepted;")
        expect(announced <= measured and (change["announced_loss_open"] or announced == measured),
               f"lost were {measured} writes, announced: {change}")
        self.figures.append({"epoch": epoch, "measured": measured,
                             "announced": f"{announced}{' or more' if change['announced_loss_open'] else ''}"})
        self.clients.resume()
        return measured

    def state(self):
        """key -> (value, revision written, version), by a linearizable read of everything, page by page."""
        found, first, node = {}, "newest/", self.home[0]
        while True:
            page = node.post("/v3/kv/range", {"key": b64(first), "range_end": b64("w0"), "limit": "5000"}, timeout=30)
            for kv in page.get("kvs", []):
                first = base64.b64decode(kv["key"]).decode()
                found[first] = (base64.b64decode(kv["value"]).decode(), int(kv["mod_revision"]), int(kv["version"]))
            if not page.get("more"):
                return found
            first += "\0"

    def put_aside(self):
        """(region, ledger) -> (its clients' keys, what is shown of it)."""
        shown, error = self.dr(self.c.nodes, "ledger", "show")
        expect(shown is not None, error)
        out = {}
        for of in shown["ledgers"]:
            expect(of["complete"] and "not_judged" not in of, f"ledger: {of}")
            lines = ctl("--endpoints", self.c.nodes[0].client, "dr", "ledger", "export", "-", "--region", of["region"], "--ledger", of["ledger"],
                        timeout=90).stdout.splitlines()
            keys = [base64.b64decode(json.loads(line)["request"]["success"][0]["request_put"]["key"]).decode()
                    for line in lines if json.loads(line)["op"] == "txn"]
            equal(len(set(keys)), len(keys), "keys and transactions of a ledger")
            out[(of["region"], of["ledger"])] = (set(keys), of)
        return out

    def order(self, calls):
        """What began after another call had ended is not older than it."""
        fresh = [c for c in calls[self.judged:] if c.outcome == "ok"]
        self.judged = len(calls)
        ended, at = sorted(fresh, key=lambda c: c.end), 0
        for call in sorted(fresh, key=lambda c: c.begin):
            while at < len(ended) and ended[at].end < call.begin:
                self.newest = max(self.newest, ended[at].revision)
                at += 1
            expect(call.revision > self.newest or (call.kind == "read" and call.revision == self.newest),
                   f"revision {self.newest} was known before {call}")
        for call in fresh:  # of each client one after the other
            if call.kind == "write":
                self.acknowledged[call.client] = call
            elif call.client in self.acknowledged and call.epoch == self.acknowledged[call.client].epoch:
                expect(int((call.told or ["0"])[0]) >= self.acknowledged[call.client].number,
                       f"read before it: {self.acknowledged[call.client]}, then {call}")

    def holds(self, calls, state, history, change, lost):
        """Every acknowledged write is in the history that goes on, or in the ledger, by the revision of the fork."""
        ended = {int(e["epoch"]) for e in history if not e["planned"]}
        forks = {}  # epoch -> the revision up to which it lives on
        for e, before in zip(history, [1] + [int(e["epoch"]) for e in history[:-1]]):
            if int(e["epoch"]) in ended:
                forks[before] = int(e["fork_revision"])
        all_lost = set().union(lost, *self.ledgers.values())
        writes = {f"w/{c.client}/{c.number}": c for c in calls if c.kind == "write"}
        wrong = collections.defaultdict(list)
        for key, call in writes.items():
            there = state.get(key)
            if there is not None:
                if call.outcome == "refused":
                    wrong["refused as not done, and there"].append(call)
                if there[0] != str(call.number) or there[2] != 1 or (call.outcome == "ok" and there[1] != call.revision):
                    wrong["there, but not as it was written"].append((call, there))
                if key in all_lost:
                    wrong["in a ledger, and there"].append(call)
            elif call.outcome == "ok" and key not in all_lost:
                wrong["acknowledged, and nowhere"].append(call)
            if call.outcome == "ok" and (there is None) != (call.revision > forks.get(call.epoch, call.revision)):
                wrong["on the wrong side of the fork"].append((call, forks.get(call.epoch), there))
            if call.outcome == "refused" and key in all_lost:
                wrong["refused as not done, and in a ledger"].append(call)
        strange = [k for k in [*state, *all_lost] if k.startswith("w/") and k not in writes]
        if strange:
            wrong["written by nobody"] = strange
        expect(not wrong, f"after epoch {change['epoch']}, fork at {change['fork_revision']}: "
               + "; ".join(f"{len(of)} {what}: {of[:3]}" for what, of in wrong.items()))
        for client in range(CLIENTS):
            mine = [of for key, of in state.items() if key.startswith(f"w/{client}/")]
            newest = max(mine, key=lambda of: of[1])
            equal(state[f"newest/{client}"], (newest[0], newest[1], len(mine)), f"value, revision and version of newest/{client}")

    def end(self):
        calls = self.clients.held()
        self.clients.stop()
        shown = ctl("--endpoints", self.c.endpoints, "dr", "status", "--history").stdout
        for figure in self.figures:
            row = next((line for line in shown.splitlines() if line.split()[:1] == [str(figure["epoch"])]), "")
            expect("unplanned" in row and f"{figure['announced'].split()[0]} writes" in row.replace(",", ""), f"epoch {figure} in:\n{shown}")
        for of in json.loads(ctl("-o", "json", "--endpoints", self.c.endpoints, "dr", "ledger", "show").stdout)["ledgers"]:
            for n in self.c.active if of["region"] == "east" else self.c.standby:  # one that came by a snapshot takes it from another
                file = os.path.join(n.dir, "data", "ledgers", f"{int(of['ledger']):020}.ledger")
                wait_for(f"ledger {of['ledger']} of {of['region']} at {n.name}", lambda file=file: os.path.exists(file), 60)
        for n in self.c.nodes:
            equal(n.kill(signal.SIGTERM), 0, f"exit code of {n.name}")
        for n in self.c.nodes:
            done = ctl("storage", "verify", "--full-scan", os.path.join(n.dir, "data"), check=False, timeout=60)
            expect(done.returncode == 0 and done.stdout.endswith("sound\n"), f"{n.name}: {done.stdout}{done.stderr}")
        count = collections.Counter(c.outcome for c in calls if c.kind == "write")
        print(f"       {count['ok']} writes acknowledged, {count['unknown']} of unknown end, {count['refused']} refused; "
              f"{sum(f['measured'] for f in self.figures)} lost and in ledgers; epoch {self.epochs[-1]['epoch']}; six directories sound")
        expect(sum(f["measured"] for f in self.figures) > 0, "nothing was lost, so this shows nothing of ledgers")


def run(cycles, seed, directory=None):
    chance = random.Random(seed)
    ways, interval = [], chance.choice((100, 100_000))
    print(f"       seed {seed}, a checkpoint each {interval} writes", flush=True)
    settings = {"dr": {"primary_silence": "1s"}, "storage": {"checkpoint_interval": interval}}
    with Cluster(active=3, standby=3, settings=settings, directory=directory) as c:
        c.start().wait_ready(timeout=60)
        story = Story(c, chance)
        try:
            story.armed(c.standby)
            for number in range(1, cycles + 1):
                ways = ways or chance.sample(WAYS, len(WAYS))
                story.cycle(number, ways.pop(), go_home=number == 1 or chance.random() < 0.75)
            story.end()
        finally:
            story.clients.stop()
            story.trouble.over()


def regions_are_lost_and_come_back_in_cycles_under_kills():
    run(3, int(os.environ.get("LEEWARD_SEED") or random.randrange(1 << 30)))


def planted():
    """A judged cycle in small: of each client's writes the first is kept, the second lost, the third of the new epoch; a fourth refused."""
    story = object.__new__(Story)
    story.ledgers, story.acknowledged, story.judged, story.newest = {}, {}, 0, 0
    history = [{"epoch": "2", "planned": False, "fork_revision": "15"}]
    calls, state, lost = [], {}, set()
    for number, epoch, revision in ((1, 1, 10), (2, 1, 20), (3, 2, 2 << 44)):
        for i in range(CLIENTS):
            calls.append(Call(i, number + i / 10, number + i / 10 + 0.05, "write", number, "ok", epoch, revision + i, None))
            if number == 2:
                lost.add(f"w/{i}/2")
            else:
                state[f"w/{i}/{number}"] = (str(number), revision + i, 1)
                state[f"newest/{i}"] = (str(number), revision + i, 2)
    calls.append(Call(0, 5, 5.1, "write", 4, "refused", 0, 0, None))
    return story, calls, state, history, lost


def the_judge_of_the_cycles_finds_what_is_planted():
    story, calls, state, history, lost = planted()
    story.order(calls)
    story.holds(calls, state, history, history[0], lost)
    later = (2 << 44) + 100
    breaches = {
        "nowhere": lambda c, s, h, l: s.pop("w/0/1"),
        "nowhere; ": lambda c, s, h, l: l.discard("w/1/2"),
        "in a ledger, and there": lambda c, s, h, l: l.add("w/2/3"),
        "not as it was written": lambda c, s, h, l: s.update({"w/3/3": ("3", (2 << 44) + 3, 2)}),
        "not as it was written; ": lambda c, s, h, l: s.update({"w/3/1": ("1", 14, 1)}),
        "on the wrong side of the fork": lambda c, s, h, l: h[0].update(fork_revision="12"),
        "refused as not done, and there": lambda c, s, h, l: s.update({"w/0/4": ("4", later, 1), "newest/0": ("4", later, 3)}),
        "refused as not done, and in a ledger": lambda c, s, h, l: l.add("w/0/4"),
        "written by nobody": lambda c, s, h, l: l.add("w/0/9"),
        "version of newest/1": lambda c, s, h, l: s.update({"newest/1": ("3", (2 << 44) + 1, 3)}),
        "was known before": lambda c, s, h, l: c.append(Call(2, 6, 6.1, "write", 5, "ok", 2, 30, None)),
        "read before it": lambda c, s, h, l: c.append(Call(2, 6, 6.1, "read", 3, "ok", 2, later, ["1"])),
    }
    for said, plant in breaches.items():
        story, calls, state, history, lost = planted()
        plant(calls, state, history, lost)
        try:
            story.order(calls)
            story.holds(calls, state, history, history[0], lost)
        except Failure as failure:
            expect(said.rstrip("; ") in str(failure), f"planted for {said!r}, found: {failure}")
        else:
            raise Failure(f"planted and not found: {said}")


TESTS = [the_judge_of_the_cycles_finds_what_is_planted, regions_are_lost_and_come_back_in_cycles_under_kills]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--keep", metavar="DIRECTORY", help="of the nodes: stays afterwards, logs and all")
    options = parser.parse_args()
    if options.keep:
        os.makedirs(options.keep)
    run(options.cycles, options.seed, options.keep)


if __name__ == "__main__":
    main()
