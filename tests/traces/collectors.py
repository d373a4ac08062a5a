"""What becomes of spans with collectors of every kind, and of a node that has them."""
import concurrent.futures
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

import grpc

from collector import Collector, Reply
from leeward.claims import expect
from leeward.cluster import Cluster, wait_for
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from paths import SAMPLED, names, new_trace, put, telemetry, traced, whole


def figures(node):
    page = urllib.request.urlopen(f"http://{node.metrics}/metrics", timeout=20).read().decode()
    return {**{r: int(float(v)) for r, v in re.findall(r'leeward_otlp_spans_total\{result="(\w+)"\} (\S+)', page)},
            "queue": int(float(re.search(r"^leeward_otlp_queue_length (\S+)", page, re.M)[1])),
            "memory": int(float(re.search(r"^process_resident_memory_bytes (\S+)", page, re.M)[1]))}


def sampled_put(node, **more):
    trace, client = new_trace()
    put(node, f"00-{trace}-{client}-{SAMPLED}", **more)
    return trace, client


ONE_NODE = ("etcdserverpb.KV/Put", "queue", "consensus", "fsync", "apply")


def json_says_the_same_as_protobuf():
    seen = {}
    for protocol in ("http/protobuf", "http/json"):
        with traced(1, otlp_protocol=protocol) as (cluster, collector):
            trace, client = sampled_put(cluster.active[0])
            spans = whole(collector, trace, client, *ONE_NODE)
            seen[protocol] = {s.name: (s.kind, sorted(s.attributes), type(s.attributes.get("leeward.index")).__name__) for s in spans}
            path, headers = collector.requests[0]
            expect(path == "/v1/traces", path)
            expect(headers["Content-Type"] == {"http/json": "application/json"}.get(protocol, "application/x-protobuf"), headers)
    expect(seen["http/json"] == seen["http/protobuf"], seen)


class GrpcCollector:
    """Answers the first call UNAVAILABLE, the second RESOURCE_EXHAUSTED, and takes what follows."""

    def __init__(self, address, credentials=None):
        self.calls, self.spans = [], []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self.export, service.ExportTraceServiceRequest.FromString,
                                                      service.ExportTraceServiceResponse.SerializeToString)
        name = "opentelemetry.proto.collector.trace.v1.TraceService"
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": handler}),))
        add = self.server.add_insecure_port if credentials is None else lambda a: self.server.add_secure_port(a, credentials)
        expect(add(address) != 0, f"cannot listen on {address}")

    def export(self, request, context):
        self.calls.append((request.SerializeToString(), dict(context.invocation_metadata())))
        if len(self.calls) <= 2:
            context.abort((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)[len(self.calls) - 1], "later")
        answer = service.ExportTraceServiceResponse()
        if len(self.calls) == 3:
            answer.partial_success.rejected_spans = 1
        self.spans += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return answer

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(0)


def certificate_for(address, place):
    key, certificate = os.path.join(place, "key.pem"), os.path.join(place, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout",
                    key, "-out", certificate, "-subj", "/CN=collector", "-addext", f"subjectAltName=IP:{address}"],
                   check=True, capture_output=True)
    return key, certificate


def grpc_says_the_same_and_retries_what_it_may():
    for secure in (False, True):
        cluster = Cluster(1)
        address = f"127.{cluster.net}.9.1"
        with tempfile.TemporaryDirectory() as place:
            key, certificate = certificate_for(address, place)
            scheme = "https" if secure else "http"
            cluster.settings = telemetry(cluster.net, otlp_endpoint=f"{scheme}://{address}:4317", otlp_protocol="grpc", otlp_ca=certificate,
                                         otlp_headers="Api-Key=one")
            credentials = grpc.ssl_server_credentials([(open(key, "rb").read(), open(certificate, "rb").read())]) if secure else None
            with GrpcCollector(f"{address}:4317", credentials) as collector, cluster:
                cluster.start().wait_ready()
                node = cluster.active[0]
                wait_for("three calls and more", lambda: len(collector.calls) >= 4 if sampled_put(node) else None)
                expect(collector.calls[0][0] == collector.calls[1][0], "UNAVAILABLE is sent again")
                expect(collector.calls[1][0] != collector.calls[2][0], "RESOURCE_EXHAUSTED is not")
                expect(collector.calls[0][1]["api-key"] == "one", collector.calls[0][1])
                trace, client = sampled_put(node)
                wait_for("its spans", lambda: {"apply", "etcdserverpb.KV/Put"} <= {s.name for s in collector.spans if s.trace_id.hex() == trace})
                refused = len([s for r in service.ExportTraceServiceRequest.FromString(collector.calls[1][0]).resource_spans
                               for scope in r.scope_spans for s in scope.spans])
                wait_for("the figures", lambda: figures(node)["rejected"] == refused + 1)


def headers_and_tls():
    cluster = Cluster(1)
    address = f"127.{cluster.net}.9.1"
    with tempfile.TemporaryDirectory() as place:
        key, certificate = certificate_for(address, place)
        cluster.settings = telemetry(cluster.net, otlp_endpoint=f"https://{address}:4318/base/", otlp_ca=certificate)
        cluster.environment = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20secret,tenant=b"}
        with Collector(address, tls=(certificate, key)) as collector, cluster:
            cluster.start().wait_ready()
            trace, _ = sampled_put(cluster.active[0])
            wait_for("its spans", lambda: collector.of(trace))
            path, headers = collector.requests[0]
            expect(path == "/base/v1/traces" and headers.get("api-key") == "a secret" and headers.get("tenant") == "b", (path, headers))
            # A certificate of nobody's: nothing is sent, and the node goes on.
            wait_for("all of them", lambda: set(ONE_NODE) <= set(names(collector.of(trace))) and
                     figures(cluster.active[0])["sent"] == collector.count())
            cluster.stop()
            cluster.settings = telemetry(cluster.net, otlp_endpoint=f"https://{address}:4318")
            before = len(collector.requests)
            cluster.start().wait_ready()
            sampled_put(cluster.active[0])
            wait_for("the failure", lambda: figures(cluster.active[0])["failed"] > 0)
            expect(len(collector.requests) == before, "spans went to a collector without a certificate")


def a_traces_endpoint_is_used_as_it_is():
    cluster = Cluster(1)
    address = f"127.{cluster.net}.9.1"
    cluster.settings = telemetry(cluster.net, otlp_endpoint="http://127.0.0.1:1")
    cluster.environment = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{address}:4318/only/here?x=1"}
    with Collector(address) as collector, cluster:
        cluster.start().wait_ready()
        trace, _ = sampled_put(cluster.active[0])
        wait_for("its spans", lambda: collector.of(trace))
        expect(collector.requests[0][0] == "/only/here?x=1", collector.requests[0])


def retries_and_partial_success_are_counted():
    refused = service.ExportTraceServiceResponse()
    refused.partial_success.rejected_spans = 1
    plan = [Reply(503, headers={"Retry-After": "1"}), Reply(200), Reply(400, b"no"), Reply(200, refused.SerializeToString())]
    with traced(1, reply=lambda _p, _h, _b, n: plan[n - 1] if n <= len(plan) else Reply()) as (cluster, collector):
        node = cluster.active[0]
        began = time.monotonic()
        # The first one may be the election's own.
        wait_for("a batch that was sent again", lambda: len(collector.requests) >= 2 if sampled_put(node) else None)
        expect(collector.raw[0] == collector.raw[1] and time.monotonic() - began < 60, "the same bytes again")
        wait_for("all of the plan", lambda: len(collector.requests) >= 5 if sampled_put(node) else None)
        expect(collector.raw[2] != collector.raw[3], "what was refused is not sent again")
        wait_for("every span to have its end", lambda: figures(node)["queue"] == 0)
        refused_spans = sum(len(s.spans) for r in service.ExportTraceServiceRequest.FromString(collector.raw[2]).resource_spans for s in r.scope_spans)
        wait_for("what was refused", lambda: figures(node)["rejected"] == refused_spans + 1)
        wait_for("what was sent", lambda: figures(node)["sent"] == collector.count() - 1)
        now = figures(node)
        expect(now["failed"] == now["dropped"] == 0, now)


def endless():
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100000000\r\n\r\n"
    for _ in range(400):
        yield b"x" * 256 * 1024


def rubbish():
    yield os.urandom(200_000)


def long_headers():
    yield b"HTTP/1.1 200 OK\r\n"
    for _ in range(200):
        yield b"X-Header: " + b"h" * 64 * 1024 + b"\r\n"


def a_dead_slow_or_hostile_collector_changes_only_counters():
    modes = {"hangs": lambda: Reply(delay=30), "refuses": lambda: Reply(500, b"x" * 1_000_000), "is endless": lambda: Reply(raw=endless()),
             "talks rubbish": lambda: Reply(raw=rubbish()), "has long headers": lambda: Reply(raw=long_headers())}
    mode = ["hangs"]
    with traced(1, reply=lambda *_: modes[mode[0]](), sample_ratio=1.0, otlp_timeout="500ms", queue_spans=1000,
                batch_spans=100) as (cluster, collector):
        node = cluster.active[0]
        for _ in range(50):
            put(node)
        memory = figures(node)["memory"]
        for mode[0] in modes:
            before = figures(node)
            requests = len(collector.requests)

            def load():
                worst = 0.0
                for _ in range(200):
                    began = time.monotonic()
                    put(node)
                    worst = max(worst, time.monotonic() - began)
                return worst
            worst = load()
            for _ in range(2):  # a collector would hold up each of them, a machine that stands still one
                worst = worst if worst < 2 else load()
            wait_for(f"a batch that ended when the collector {mode[0]}", lambda: len(collector.requests) > requests and
                     sum(figures(node)[r] for r in ("failed", "rejected", "dropped")) > sum(before[r] for r in ("failed", "rejected", "dropped")))
            expect(worst < 2, f"a put took {worst:.1f} s when the collector {mode[0]}")
            expect(figures(node)["queue"] <= 1000, "the queue is bounded")
        expect(figures(node)["memory"] < memory + 64 * 1024 * 1024, f"{memory} -> {figures(node)['memory']}")
        text = node.log_text()
        expect(1 <= text.count("spans are not delivered") <= 2, "told once, not for each batch")
        collector.server.shutdown()
        collector.server.server_close()
        for _ in range(20):
            put(node)
        wait_for("a node without a collector to be ready", lambda: node.ok("/readyz"))
        began = time.monotonic()
        expect(node.kill(15) == 0 and time.monotonic() - began < 25, "a dead collector holds up no stop")


def an_absurd_variable_is_one_warning():
    cluster = Cluster(1)
    cluster.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "::::", "OTEL_BSP_MAX_QUEUE_SIZE": "-7", "OTEL_TRACES_SAMPLER": "coin",
                           "OTEL_EXPORTER_OTLP_TIMEOUT": "soon", "OTEL_EXPORTER_OTLP_HEADERS": "a\tb"}
    with cluster:
        cluster.start().wait_ready()
        wait_for("the warnings", lambda: all(name in cluster.active[0].log_text() for name in cluster.environment))
        text = cluster.active[0].log_text()
        for name in cluster.environment:
            expect(text.count(name) == 1, f"{name}: {text[:2000]}")


def what_is_queued_is_sent_at_a_stop():
    with traced(1, batch_delay="1h") as (cluster, collector):
        trace, _ = sampled_put(cluster.active[0])
        expect(not collector.of(trace), "nothing is sent before the delay is over")
        expect(cluster.active[0].kill(15) == 0, "a graceful stop")
        wait_for("what was sent at the stop", lambda: "etcdserverpb.KV/Put" in names(collector.of(trace)))
    # A collector that accepts and says nothing does not hold up the stop.
    cluster = Cluster(1)
    cluster.settings = telemetry(cluster.net, batch_delay="1h")
    with socket.socket() as silent, cluster:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a collector of an earlier test may have stood there
        silent.bind((f"127.{cluster.net}.9.1", 4318))
        silent.listen()
        accepting = threading.Thread(target=lambda: silent.accept(), daemon=True)
        accepting.start()
        cluster.start().wait_ready()
        sampled_put(cluster.active[0])
        began = time.monotonic()
        expect(cluster.active[0].kill(15) == 0 and time.monotonic() - began < 25, f"{time.monotonic() - began:.1f} s")
