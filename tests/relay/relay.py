"""Starts leeward-relay and tells it what to do. README.md has the commands."""
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(os.environ.get("LEEWARD_BIN", os.path.join(ROOT, "build", "release", "bin")), "leeward-relay")


class Relay:
    """paths: {name: ("127.0.0.1:7001", "127.0.0.1:7002")}; a context manager."""

    def __init__(self, paths, delay="0ms", rate=0):
        maps = [word for name, (listen, target) in paths.items() for word in ("--map", f"{name}={listen},{target}")]
        self.process = subprocess.Popen([PROGRAM, *maps, "--delay", delay, "--rate", str(rate)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError("leeward-relay did not start")

    def tell(self, command):
        """One command, its answer without the leading ok."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer.startswith("ok"):
            raise RuntimeError(f"leeward-relay: {command}: {answer or 'it ended'}")
        return answer[2:].strip()

    def stats(self, name="*"):
        return {key: int(value) for key, value in (pair.split("=") for pair in self.tell(f"{name} stats").split())}

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
