"""From a metric to the trace behind it: exemplars, as a real Prometheus takes them."""
import json
import os
import subprocess
import tempfile
import urllib.parse
import urllib.request

from leeward.claims import expect
from leeward.cluster import wait_for
from paths import SAMPLED, UNSAMPLED, new_trace, put, traced

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: leeward-etcd
    static_configs: [{{targets: ["{target}"]}}]
"""


def prometheus_keeps_the_exemplars_of_sampled_requests():
    with traced() as (cluster, collector), tempfile.TemporaryDirectory(prefix="leeward-exemplars-") as folder:
        node = cluster.active[0]
        sampled, other = new_trace(), new_trace()
        put(node, f"00-{sampled[0]}-{sampled[1]}-{SAMPLED}")
        put(node, f"00-{other[0]}-{other[1]}-{UNSAMPLED}")
        put(node)
        path, address = os.path.join(folder, "prometheus.yaml"), f"127.{cluster.net}.9.2:9090"
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(CONFIG.format(target=node.metrics))
        with open(os.path.join(folder, "log"), "w", encoding="utf-8") as log:
            prometheus = subprocess.Popen(["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address={address}",
                                           "--enable-feature=exemplar-storage"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            def ask(what, **parameters):
                try:
                    with urllib.request.urlopen(f"http://{address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
                        return json.loads(answer.read())["data"]
                except OSError:  # it starts
                    return None

            found = wait_for("exemplars", lambda: ask("query_exemplars", query="leeward_rpc_duration_seconds_bucket", start=0, end=4e9), 60)
            labels = [exemplar["labels"] for series in found for exemplar in series["exemplars"]]
            expect({one["trace_id"] for one in labels} == {sampled[0]}, f"of the one sampled request: {found}")
            expect(found[0]["seriesLabels"]["method"] == "Put", str(found))
            span = wait_for("its span", lambda: [s for s in collector.of(sampled[0]) if s.name == "etcdserverpb.KV/Put"], 20)[0]
            expect(labels[0]["span_id"] == span.id, f"{labels[0]} is not {span}")
            # A scrape's exemplars can be asked for a moment before its samples.
            up = wait_for("the scrape's own sample", lambda: (ask("query", query="up") or {}).get("result"), 20)
            expect([series["value"][1] for series in up] == ["1"], f"the page is not what Prometheus reads: {up}")
        finally:
            prometheus.terminate()
            prometheus.wait(timeout=30)
