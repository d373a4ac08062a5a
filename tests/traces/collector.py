"""An OTLP collector that keeps what it is sent and answers as it is told."""
import base64
import http.server
import json
import ssl
import threading
import time

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service


class Reply:
    def __init__(self, status=200, body=b"", headers=None, delay=0.0, raw=None):
        self.status, self.body, self.headers, self.delay, self.raw = status, body, headers or {}, delay, raw


def from_json(text):
    """An export request from OTLP's JSON: its ids are hexadecimal, which the official classes do not read."""
    document = json.loads(text)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for key in ("traceId", "spanId", "parentSpanId"):
                    if key in span:
                        span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    return json_format.ParseDict(document, service.ExportTraceServiceRequest())


class Span:
    def __init__(self, span, resource):
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.name, self.kind, self.status = span.name, span.kind, span.status
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = values(span.attributes)
        self.resource = resource
        self.node = int(resource["service.instance.id"])

    def __repr__(self):
        return f"{self.name}@{self.node} {self.id}<{self.parent} {(self.end - self.start) / 1e6:.3f} ms"


def values(attributes):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


class Collector:
    """A context manager. `reply(path, headers, body, n)` answers the n-th request."""

    def __init__(self, address, port=4318, reply=None, tls=None):
        self.spans, self.requests, self.raw, self.faults = [], [], [], []
        self.lock = threading.Lock()
        self.reply = reply or (lambda *_: Reply())
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    outer.requests.append((self.path, dict(self.headers)))
                    outer.raw.append(body)
                    n = len(outer.requests)
                reply = outer.reply(self.path, self.headers, body, n)
                if reply.status == 200 and reply.raw is None:
                    outer.take(self.headers["Content-Type"], body)
                time.sleep(reply.delay)
                try:
                    if reply.raw is not None:
                        for piece in reply.raw:
                            self.wfile.write(piece)
                        self.close_connection = True
                        return
                    self.send_response(reply.status)
                    for key, value in reply.headers.items():
                        self.send_header(key, value)
                    self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:
                    pass  # the node has had enough

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a node that was killed

        self.server = Server((address, port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://{address}:{port}"

    def take(self, content_type, body):
        try:
            if content_type == "application/json":
                request = from_json(body)
            else:
                request = service.ExportTraceServiceRequest.FromString(body)
        except Exception as error:  # told by the test that looks at `faults`
            self.faults.append(f"{type(error).__name__}: {error}")
            return
        with self.lock:
            for group in request.resource_spans:
                resource = values(group.resource.attributes)
                resource["schema_url"] = group.schema_url
                for scope in group.scope_spans:
                    self.spans += [Span(span, resource) for span in scope.spans]

    def of(self, trace):
        with self.lock:
            return [s for s in self.spans if s.trace == trace]

    def count(self):
        with self.lock:
            return len(self.spans)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
