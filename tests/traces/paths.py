"""What the spans of a request say: who is whose parent, when, and where."""
import json
import os
import subprocess
import threading
import urllib.request
from contextlib import contextmanager

import grpc

from collector import Collector
from leeward.claims import expect
from leeward.cluster import Cluster, Failure, b64, ctl, wait_for

SAMPLED, UNSAMPLED = "01", "00"


def new_trace():
    return os.urandom(16).hex(), os.urandom(8).hex()


def telemetry(net, **more):
    return {"telemetry": {"otlp_endpoint": f"http://127.{net}.9.1:4318", "batch_delay": "50ms", "sample_ratio": 0.0, **more}}


@contextmanager
def traced(active=1, standby=0, reply=None, settings=None, **more):
    """A cluster that is ready, and its collector."""
    cluster = Cluster(active, standby)
    cluster.settings = {**telemetry(cluster.net, **more), **(settings or {})}
    with Collector(f"127.{cluster.net}.9.1", reply=reply) as collector, cluster:
        cluster.start().wait_ready()
        yield cluster, collector
        expect(not collector.faults, f"not OTLP: {collector.faults[:3]}")


def post(node, path, body, traceparent=None):
    headers = {"Content-Type": "application/json"}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    request = urllib.request.Request(f"http://{node.client}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def put(node, traceparent=None, key="k", value="v"):
    return post(node, "/v3/kv/put", {"key": b64(key), "value": b64(value)}, traceparent)


def names(spans):
    return sorted(s.name for s in spans)


def one(spans, name, node=None):
    found = [s for s in spans if s.name == name and node in (None, s.node)]
    expect(len(found) == 1, f"{len(found)} spans {name} at {node}: {spans}")
    return found[0]


def held_together(spans, client):
    """Every parent is in the trace, starts no later than its child, and ids are once."""
    by_id = {s.id: s for s in spans}
    expect(len(by_id) == len(spans), f"ids come twice: {spans}")
    for span in spans:
        expect(span.start <= span.end, f"{span} ends before it starts")
        if span.parent == client:
            continue
        expect(span.parent in by_id, f"{span} has a parent that nobody sent: {spans}")
        expect(by_id[span.parent].start <= span.start, f"{span} starts before {by_id[span.parent]}")


@contextmanager
def watching(node, key):
    """A watch on `key` that runs until the block ends, in a thread that reads."""
    body = json.dumps({"create_request": {"key": b64(key)}}).encode()
    request = urllib.request.Request(f"http://{node.client}/v3/watch", body, {"Content-Type": "application/json"})
    answer = urllib.request.urlopen(request, timeout=120)
    expect(b'"created":true' in answer.readline(), "the watch was not made")
    thread = threading.Thread(target=lambda: [None for _ in iter(answer.readline, b"")], daemon=True)
    thread.start()
    try:
        yield
    finally:
        answer.fp.raw._sock.shutdown(2)
        thread.join(timeout=5)
        answer.close()


def whole(collector, trace, client, *wanted):
    """The spans of a trace once all have come: they are sent in batches, by each node its own."""
    def come():
        spans = collector.of(trace)
        expect(set(wanted) <= set(names(spans)), names(spans))
        held_together(spans, client)
        return spans
    return wait_for(f"a whole trace with {', '.join(wanted)}", come)


def a_put_at_a_follower_is_one_trace_to_the_standbys_apply():
    # No election in between, and what is sent again shows again.
    with traced(3, 3, settings={"raft": {"election_timeout": "3s"}}) as (cluster, collector):
        leader = cluster.leader()
        wait_for("the standbys to follow", lambda: all(n.value("warm", True) == "1" for n in cluster.standby) if put(leader, key="warm", value="1") else None)
        for last in (False, False, True):
            try:
                return one_trace_to_the_standbys_apply(cluster, collector)
            except Failure as failure:
                if last:
                    raise
                print(f"       {failure}")


def one_trace_to_the_standbys_apply(cluster, collector):
    leader = cluster.leader()
    follower = next(n for n in cluster.active if n is not leader)
    trace, client = new_trace()
    all_of_it = sorted(["etcdserverpb.KV/Put", "forward", "queue", "consensus", "fsync", "quorum", "append", "append", "apply", "apply", "apply",
                        "watch", "watch", "standby", "standby.receive", "standby.fsync", "standby.apply"])
    with watching(follower, "k"), watching(cluster.standby[0], "k"):
        put(follower, f"00-{trace}-{client}-{SAMPLED}")
        wait_for("the standby's apply, both watches and all between", lambda: names(collector.of(trace)) == all_of_it)
    spans = collector.of(trace)
    held_together(spans, client)
    rpc, forward = one(spans, "etcdserverpb.KV/Put", follower.id), one(spans, "forward", follower.id)
    queue, consensus = one(spans, "queue", leader.id), one(spans, "consensus", leader.id)
    expect(rpc.parent == client and forward.parent == rpc.id, "client -> rpc -> forward")
    expect(queue.parent == consensus.parent == forward.id, "forward -> queue, consensus")
    expect(queue.end == consensus.start, "consensus follows the queue")
    for name in ("fsync", "quorum"):
        stage = one(spans, name, leader.id)
        expect(stage.parent == consensus.id and stage.start >= consensus.start, f"{name}: {stage}")
    appends = [s for s in spans if s.name == "append"]
    expect({s.attributes["leeward.peer"] for s in appends} == {n.id for n in cluster.active if n is not leader}, appends)
    expect(all(s.parent == consensus.id and s.start >= consensus.start for s in appends), appends)
    expect(min(s.end for s in appends) <= consensus.end, "a quorum of three needs one follower")
    expect(rpc.start <= forward.start <= queue.start and consensus.end <= forward.end <= rpc.end, spans)
    applies = [s for s in spans if s.name == "apply"]
    expect({s.node for s in applies} == {n.id for n in cluster.active}, applies)
    expect(all(s.parent == forward.id for s in applies), applies)
    expect(next(s for s in applies if s.node == leader.id).start >= consensus.end, "applied when committed")
    for watch in (s for s in spans if s.name == "watch"):
        expect(watch.parent == forward.id and watch.start >= consensus.start, watch)
    standby = one(spans, "standby")
    receive, fsync, apply = (one(spans, "standby." + s, standby.node) for s in ("receive", "fsync", "apply"))
    expect(standby.node in {n.id for n in cluster.standby} and standby.parent == forward.id, standby)
    expect(standby.start >= consensus.start and receive.start == standby.start and apply.end == standby.end, spans)
    expect(receive.end == fsync.start and fsync.end == apply.start, "one after the other")
    for span in spans:
        node = cluster.by_id(span.node)
        expect(span.resource["cloud.region"] == node.region and span.resource["cloud.availability_zone"] == node.zone, span.resource)
        expect(span.resource["service.name"] == "leeward" and span.resource["service.version"] and span.resource["host.name"], span.resource)
        expect(span.resource["schema_url"].startswith("https://opentelemetry.io/schemas/"), span.resource)


def grpc_call(node, method, body, traceparent):
    with grpc.insecure_channel(node.client) as channel:
        return channel.unary_unary(method)(body, metadata=(("traceparent", traceparent),), timeout=20)


def a_put_and_a_read_by_grpc_metadata():
    with traced(1) as (cluster, collector):
        node = cluster.active[0]
        trace, client = new_trace()
        grpc_call(node, "/etcdserverpb.KV/Put", b"\x0a\x01k\x12\x01v", f"00-{trace}-{client}-{SAMPLED}")
        grpc_call(node, "/etcdserverpb.KV/Range", b"\x0a\x01k", f"00-{trace}-{client}-{SAMPLED}")
        spans = whole(collector, trace, client, "etcdserverpb.KV/Put", "etcdserverpb.KV/Range", "apply")
        rpc = one(spans, "etcdserverpb.KV/Put")
        expect(rpc.kind == 2 and rpc.attributes["rpc.system"] == "grpc" and rpc.attributes["rpc.grpc.status_code"] == 0
               and rpc.attributes["rpc.service"] == "etcdserverpb.KV" and rpc.attributes["rpc.method"] == "Put", rpc.attributes)
        try:
            grpc_call(node, "/etcdserverpb.KV/NoSuch", b"", f"00-{trace}-{client}-{SAMPLED}")
            raise Failure("a method that does not exist was answered")
        except grpc.RpcError:
            pass
        wait_for("the call of no method", lambda: "unknown method" in names(collector.of(trace)))


def a_put_at_a_standby_goes_on_in_the_primary():
    with traced(1, 1) as (cluster, collector):
        primary, standby = cluster.active[0], cluster.standby[0]
        wait_for("the standby to forward", lambda: put(standby))
        trace, client = new_trace()
        put(standby, f"00-{trace}-{client}-{SAMPLED}")
        spans = whole(collector, trace, client, "etcdserverpb.KV/Put", "consensus", "standby", "standby.apply")
        expect(one(spans, "etcdserverpb.KV/Put").node == standby.id and one(spans, "consensus").node == primary.id
               and one(spans, "standby").node == standby.id, spans)


def a_malformed_traceparent_is_no_parent():
    with traced(1) as (cluster, collector):
        node = cluster.active[0]
        trace, client = new_trace()
        for text in ("", "x", f"00-{trace}-{client}", f"00-{trace}-{client}-01-more", f"ff-{trace}-{client}-01", f"00-{'0' * 32}-{client}-01",
                     f"00-{trace}-{'0' * 16}-01", f"00-{trace.upper()}-{client}-01" if trace.upper() != trace else "-", f"00-{trace}-{client}-0g",
                     "00-" + "z" * 32 + f"-{client}-01", "a" * 8000):
            put(node, text)
        good, _ = new_trace()
        put(node, f"00-{good}-{client}-{SAMPLED}")
        wait_for("the good one", lambda: collector.of(good))
        expect(all(s.trace == good for s in collector.spans if s.name != "election"), f"a malformed one was followed: {collector.spans}")


def the_client_decides_and_else_the_ratio():
    with traced(1, sample_ratio=1.0) as (cluster, collector):
        node = cluster.active[0]
        trace, client = new_trace()
        put(node, f"00-{trace}-{client}-{UNSAMPLED}")
        before = collector.count()
        put(node)
        wait_for("a trace of its own", lambda: any(s.name == "etcdserverpb.KV/Put" and not s.parent for s in collector.spans[before:]))
        expect(not collector.of(trace), "the client said no")
    with traced(1) as (cluster, collector):
        trace, client = new_trace()
        put(cluster.active[0])
        put(cluster.active[0], f"00-{trace}-{client}-{SAMPLED}")
        wait_for("the client's", lambda: collector.of(trace))
        expect(all(s.trace == trace for s in collector.spans if s.name.startswith("etcdserverpb")), "ratio 0 takes none by itself")


def no_key_and_no_value_is_ever_sent():
    with traced(1, 1, sample_ratio=1.0) as (cluster, collector):
        node = cluster.active[0]
        trace, client = new_trace()
        put(node, f"00-{trace}-{client}-{SAMPLED}", key="very-secret-key", value="very-secret-value")
        node.value("very-secret-key")
        subprocess.run(["etcdctl", f"--endpoints={node.client}", "lease", "grant", "60"], check=True, capture_output=True,
                       env={**os.environ, "ETCDCTL_API": "3"})
        wait_for("its spans", lambda: "standby.apply" in names(collector.of(trace)))
        raw = b"".join(collector.raw)
        expect(b"very-secret" not in raw and b64("very-secret-key")[:12].encode() not in raw, "a key or value was sent")
        closed = {"forward", "queue", "consensus", "fsync", "append", "quorum", "apply", "watch", "read", "standby", "standby.receive",
                  "standby.fsync", "standby.apply", "election", "snapshot.make", "unknown method"}
        strange = {s.name for s in collector.spans if s.name not in closed and not s.name.startswith(("etcdserverpb.", "leeward.v1.", "grpc."))}
        expect(not strange, f"names outside of the set: {strange}")


def events_of_a_node_are_traces_of_their_own():
    with traced(1, settings={"storage": {"checkpoint_interval": 10}}) as (cluster, collector):
        node = cluster.active[0]
        wait_for("its election", lambda: "election" in names(collector.spans))
        for i in range(30):
            put(node, value=str(i))
        wait_for("a checkpoint", lambda: "snapshot.make" in names(collector.spans))
        election, made = (next(s for s in collector.spans if s.name == n) for n in ("election", "snapshot.make"))
        expect(not election.parent and election.attributes["leeward.leader"] == node.id and election.attributes["leeward.term"] > 0, election.attributes)
        expect(not made.parent and made.attributes["leeward.index"] > 10 and made.trace != election.trace, made.attributes)


def a_promotion_a_switchover_and_a_drill_show_their_steps():
    with traced(3, 3, settings={"dr": {"primary_silence": "1s", "max_lag": "10s"}}) as (cluster, collector):
        west, east = ",".join(n.client for n in cluster.standby), cluster.endpoints

        def steps_of(name):
            """Of each of that name: one that was given up has another after it."""
            return [sorted(s.name for s in collector.spans if s.parent == whole.id) for whole in collector.spans if whole.name == name]
        wait_for("the standby region to be armed", lambda: json.loads(ctl("--endpoints", east, "-o", "json", "dr", "status").stdout)["armed_region"] == "west")
        wait_for("a drill that passes", lambda: ctl("--endpoints", cluster.standby[0].client, "dr", "drill", check=False).returncode == 0, timeout=60)
        wait_for("the drill's checks", lambda: any({"fork", "promote", "write", "hash", "follow"} <= set(steps) for steps in steps_of("drill")))

        def switched():  # a command may fail whose switchover is done
            done = ctl("--endpoints", east, "dr", "switchover", "--to", "west", check=False)
            return done.returncode == 0 or "already_primary" in done.stderr
        wait_for("a switchover", switched, timeout=30)
        wait_for("its steps", lambda: ["epoch_change", "seal", "stream"] in steps_of("switchover"))
        wait_for("the way back to be armed", lambda: json.loads(ctl("--endpoints", west, "-o", "json", "dr", "status").stdout)["armed_region"] == "east", timeout=30)
        for node in cluster.standby:
            node.kill()

        def promoted():  # as with the switchover
            if any(node.ok("/primary") for node in cluster.active):
                return True
            plan = json.loads(ctl("--endpoints", east, "-o", "json", "dr", "plan", check=False).stdout or "{}")
            return plan.get("allowed") and ctl("--endpoints", east, "dr", "promote", "--digest", plan["digest"], "--accept-data-loss",
                                               check=False).returncode == 0
        wait_for("a promotion", promoted, timeout=40)
        wait_for("its steps", lambda: ["epoch_change", "survey"] in steps_of("promotion"))
        done = one([s for s in collector.spans if not s.status.code], "promotion")
        expect(all(done.start <= s.start and s.end <= done.end for s in collector.spans if s.parent == done.id), "steps lie in the whole")


def the_slow_log_names_the_trace():
    with traced(1, settings={"limits": {"slow_request": "0ms"}}) as (cluster, _):
        trace, client = new_trace()
        put(cluster.active[0], f"00-{trace}-{client}-{SAMPLED}")
        wait_for("the line", lambda: any(json.loads(line).get("trace_id") == trace for line in cluster.active[0].log_text().splitlines()
                                         if "slow request" in line))


def nothing_is_sent_unless_asked_for():
    cluster = Cluster(1)
    with Collector(f"127.{cluster.net}.9.1") as collector, cluster:
        cluster.start().wait_ready()
        trace, client = new_trace()
        put(cluster.active[0], f"00-{trace}-{client}-{SAMPLED}")
        page = urllib.request.urlopen(f"http://{cluster.active[0].metrics}/metrics").read().decode()
        for result in ("sent", "rejected", "failed", "dropped"):
            expect(f'leeward_otlp_spans_total{{result="{result}"}} 0' in page, "every series is there from the start")
        expect(not collector.requests and "sending traces" not in cluster.active[0].log_text(), "traces are off by default")
        cluster.stop()
        cluster.environment = {"OTEL_TRACES_EXPORTER": "otlp"}
        cluster.start().wait_ready()
        wait_for("OTEL_TRACES_EXPORTER=otlp to have a default endpoint", lambda: "http://localhost:4318" in cluster.active[0].log_text())
