"""HAProxy before all members: who gets clients, and what a client with one address sees of a promotion."""
import csv
import urllib.request

from leeward.claims import equal
from leeward.cluster import wait_for
import control
import lab

ADDRESS = f"{lab.REGIONS['west']}.12"
WRITES, READS = f"{ADDRESS}:5000", f"{ADDRESS}:5001"


def figures(proxy):
    """What HAProxy says of each member behind it, by name."""
    with urllib.request.urlopen(f"http://{ADDRESS}:8404/stats;csv", timeout=5) as answer:
        rows = csv.DictReader(answer.read().decode().removeprefix("# ").splitlines())
    return {row["svname"]: row for row in rows if row["pxname"] == proxy and row["svname"].startswith("leeward-")}


def up(proxy):
    return sorted(name for name, row in figures(proxy).items() if row["status"].startswith("UP"))


def sessions(region):
    """How many writers are led to that region now."""
    return sum(int(row["scur"]) for name, row in figures("writes").items() if f"-{region}-" in name)


def leads_writes_to(region):
    """Three members of that region, and nobody else, by `/primary` answered with 200."""
    wait_for(f"writes to be led to {region}", lambda: [name.split("-")[1] for name in up("writes")] == [region] * 3, 15)
    other = {name: row for name, row in figures("writes").items() if f"-{region}-" not in name}
    equal({name: row["scur"] for name, row in other.items()}, {name: "0" for name in other}, "writers led elsewhere")
    equal({row["check_code"] for row in figures("writes").values() if row["status"] == "UP"}, {"200"}, "what members in use answered")


def clients_are_led_to_the_primary_region_for_writes_and_to_all_members_for_reads():
    leads_writes_to("east")
    refused = {row["svname"]: row["check_code"] for row in figures("writes").values() if row["status"] != "UP"}
    equal(refused, {f"leeward-west-{number}": "503" for number in (11, 12, 13)}, "what members of the other region answered")
    equal({row["stot"] for name, row in figures("writes").items() if "-west-" in name}, {"0"}, "writers led to the other region")
    wait_for("all members to be read from", lambda: len(up("reads")) == 6, 15)
    etcdctl = ["etcdctl", *control.flags("app")]
    for words, said in ((["--endpoints", f"https://{WRITES}", "put", "through", "the balancer"], "OK"),
                        (["--endpoints", f"https://{READS}", "get", "through"], "the balancer")):
        done = control.command("env", "ETCDCTL_API=3", *etcdctl, *words)
        equal((done.returncode, said in done.stdout), (0, True), f"etcdctl {' '.join(words)}: {done.stdout}")
