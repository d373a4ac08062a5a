"""Nodes whose wall clock is wrong."""
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


def start_ahead(node, seconds):
    """Starts a node whose CLOCK_REALTIME is so many whole seconds ahead."""
    shifted = os.path.join(node.cluster.dir, "shifted_clock.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shifted, os.path.join(HERE, "shifted_clock.c")], check=True)
    given = node.cluster.environment
    node.cluster.environment = {**given, "LD_PRELOAD": shifted, "SHIFT": str(seconds)}
    try:
        return node.start()
    finally:
        node.cluster.environment = given
