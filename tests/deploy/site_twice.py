"""site: from hosts with Debian to two regions that serve, and nothing more the second time."""
from leeward.claims import equal
from leeward.cluster import wait_for
import control
import hosts


def six_hosts_become_two_regions_that_serve_with_mutual_tls():
    hosts.all_hosts()
    control.playbook("site")
    control.etcdctl("east", "put", "from", "the control host")
    wait_for("the other region to have it", lambda: "control host" in control.etcdctl("west", "get", "from", "--consistency=s"))
    members = control.ctl("east", "cluster", "status")["members"]
    equal(sorted((m["role"], m["healthy"]) for m in members), [("primary", True)] * 3 + [("standby", True)] * 3, "members")


def a_second_run_changes_nothing():
    equal(control.playbook("site").changed, {}, "hosts that were changed")
