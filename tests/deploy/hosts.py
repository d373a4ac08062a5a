"""The lab itself: six hosts, up and reachable; gone when whoever made them is."""
import functools

from leeward.claims import equal
import control
import lab


@functools.cache
def all_hosts():
    """Six hosts for the whole suite, as an installer left them."""
    return lab.Lab(control.addresses()).start()


def all_six_are_up_and_answer_ansible():
    made = all_hosts()
    done = control.command("ansible", "-i", control.inventory(), "leeward", "-m", "ping", "--one-line")
    equal(sorted(line.split()[0] for line in done.stdout.splitlines() if "SUCCESS" in line), sorted(made.hosts), f"who answered\n{done.stdout}\n")
