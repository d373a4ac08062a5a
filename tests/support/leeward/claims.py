"""Claims of a test: what must hold, or the test has failed and says why."""
import urllib.request

from .cluster import Failure


def expect(holds, text):
    if not holds:
        raise Failure(text)


def equal(got, wanted, what="value"):
    expect(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def metric(node, name):
    """The figure of a series without labels, on the node's metrics port; `name` without its prefix."""
    with urllib.request.urlopen(f"http://{node.metrics}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"leeward_{name} "):
                return float(line.rsplit(" ", 1)[1])
    raise Failure(f"no metric {name} at {node.name}")
