"""What the daemon says of a configuration that is wrong, and where a value comes from."""
import os
import tempfile

from leeward import certificates
from leeward.claims import equal, expect
from leeward.cluster import Cluster, wait_for
from common import daemon, one_line


def written(text):
    file = tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8")
    file.write(text)
    file.flush()
    return file


MEMBERS = 'members = [{ id = 1, peer = "127.0.0.1:2380", client = "127.0.0.1:2379" }]\n'


def all_problems_are_listed_at_once_with_file_line_and_key():
    with written('[node]\nid = 4294967296\nnmae = "x"\n[raft]\nheartbeat_interval = "100"\nelection_timeout = 5\n'
                 '[cluster]\nmembers = [{ id = 1, peer = "a:1" }, { id = 1, peer = "b:1" }, { id = 3, peer = "c" }]\n'
                 '[lmits]\nconnections = 1\n[storage]\nsegment_size = "64MB5"\n[log]\nlevel = "loud"\n') as file:
        done = daemon("--config", file.name, "--check-config", "--set", "tls.client.cert=/nonexistent")
        equal(done.returncode, 2, done.stderr)
        wanted = {2: ["node.id", "4294967295"], 3: ["node.nmae", "node.name"], 5: ["heartbeat_interval", "250ms"],
                  6: ["election_timeout"], 8: ["cluster.members"], 9: ["lmits", "limits"], 12: ["segment_size"],
                  14: ["log.level", "debug"]}
        for number, words in wanted.items():
            lines = [line for line in done.stderr.splitlines() if f"{file.name}:{number}: " in line]
            expect(any(all(w in line for w in words) for line in lines), f"line {number} with {words}: {done.stderr}")
        expect("tls.client" in done.stderr, done.stderr)
    with written("[node]\nid = 1\n[cluster]\n" + 'members = [{ id = 1, peer = "a:1" }, { id = 1, peer = "b:1" }, '
                 '{ id = 2, peer = "a:1" }]\n[raft]\nelection_timeout = "200ms"\n') as file:
        done = daemon("--config", file.name, "--check-config")
        for word in ("id 1 is taken", "is taken by cluster.members[0]", "five times"):
            expect(word in done.stderr, f"{word} not in {done.stderr}")


def precedence_and_print_config_show_where_a_value_comes_from():
    with written("[node]\nid = 1\n[cluster]\n" + MEMBERS + '[log]\nlevel = "warn"\n[limits]\nconnections = 7\n'
                 '[telemetry]\notlp_endpoint = "http://user:secret@collector:4318"\n[storage]\nscrub_rate = "2MiB"\n') as file:
        done = daemon("--config", file.name, "--print-config", "--set", "log.level=debug",
                      environment={"LEEWARD_LOG_LEVEL": "error", "LEEWARD_LIMITS_TXN_OPS": "9"})
        equal(done.returncode, 0, done.stderr)
        for word in ('level = "debug"', "--set", "txn_ops = 9", "LEEWARD_LIMITS_TXN_OPS", "connections = 7", file.name + ":8"):
            expect(word in done.stdout, f"{word} not in {done.stdout}")
        expect("secret" not in done.stdout and "***@collector" in done.stdout, done.stdout)
        expect("storage.scrub_rate" in done.stderr and "does not act on it" in done.stderr, done.stderr)
        with written(done.stdout) as again:
            equal(daemon("--config", again.name, "--check-config").returncode, 0, "what was printed")
        done = daemon("--config", file.name, "--check-config", environment={"LEEWARD_LOG_LEVLE": "error"})
        equal(done.returncode, 2)
        one_line("\n".join(line for line in done.stderr.splitlines() if "warning" not in line), "LEEWARD_LOG_LEVEL")


def certificates_are_part_of_the_configuration():
    with written("[node]\nid = 1\n[cluster]\n" + MEMBERS) as file:
        for flags in (["--check-config"], []):
            done = daemon("--config", file.name, *flags, "--set", "tls.client.cert=/nonexistent.pem", "--set",
                          "tls.client.key=/nonexistent.key")
            equal(done.returncode, 2, done.stderr)
            one_line(done.stderr, "tls.client", "/nonexistent.pem")
        with tempfile.TemporaryDirectory() as folder:
            files = certificates.issue(folder, 1, days=0)
            one = [text for key, path in files.items() for text in ("--set", f"tls.client.{key}={path}")]
            done = daemon("--config", file.name, "--check-config", *one)
            equal(done.returncode, 0, done.stderr)  # a node that can be reached by nobody is still one that votes
            one_line("\n".join(line for line in done.stderr.splitlines() if "expired" in line),
                     "warning", "tls.client", files["cert"], "renew it")
        equal(daemon("--config", "/nonexistent.toml").returncode, 2)
        equal(daemon("--nonsense").returncode, 2)


def a_data_directory_that_cannot_be_used_is_exit_code_3():
    with Cluster(active=1) as c:
        node = c.active[0]
        os.makedirs(node.dir)
        with open(os.path.join(node.dir, "data"), "w", encoding="utf-8") as handle:
            handle.write("a file where a directory should be")
        node.start()
        equal(node.process.wait(timeout=60), 3, "exit code")
        with open(os.path.join(node.dir, "stderr"), encoding="utf-8") as handle:
            one_line(handle.read(), "node.data_dir", node.dir)


def a_member_whose_name_does_not_resolve_is_one_line_and_no_failure():
    with Cluster(active=3) as c:
        for node in c.active:
            config = node.config
            if node.id != 3:
                node.config = lambda f=config: f().replace(f'peer = "{c.active[2].peer}"', 'peer = "no-such-host.invalid:2380"')
        c.start(c.active[:2]).wait_ready(c.active[:2])
        c.active[0].put("a", "1")
        lines = lambda: [line for line in c.active[0].log_text().splitlines() if "no-such-host.invalid" in line]
        wait_for("a log line", lines)
        expect(len(lines()) <= 2, "\n".join(lines()))
