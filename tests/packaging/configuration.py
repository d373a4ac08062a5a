"""What the package brings to be read: examples for the daemon, exclusions for the tools that restart and upgrade."""
import tempfile

from leeward import certificates
from leeward.claims import equal, expect
from host import EXAMPLES, fresh, install, machine

TLS = "/etc/leeward/tls"


def check(name):
    """What leewardd says of it as the daemon's user: exit code, all that it prints."""
    done = machine().run("setpriv", "--reuid=leeward", "--regid=leeward", "--clear-groups", "leewardd", "--config", f"{EXAMPLES}/{name}.toml",
                         "--check-config", check=False)
    return done.returncode, done.stdout + done.stderr


def every_example_is_valid_once_certificates_exist():
    m = fresh()
    install()
    names = sorted(name.removesuffix(".toml") for name in m.run("ls", EXAMPLES).stdout.split() if name.endswith(".toml"))
    equal(names, ["development", "production", "staging"])
    for name in names:
        code, said = check(name)
        expect(code == 0 if name == "development" else code == 2 and f"{TLS}/node.pem" in said, f"{name} without certificates: {said}")
    with tempfile.TemporaryDirectory() as folder:
        for use, file in certificates.issue(folder, 1, 30).items():
            path = f"{TLS}/{ {'cert': 'node.pem', 'key': 'node.key', 'ca': 'ca.pem'}[use] }"
            m.copy(file, path)
            m.run("chown", "root:leeward", path)
            m.run("chmod", "0640", path)
    for name in names:
        equal(check(name), (0, "configuration is valid\n"), name)


def needrestart_and_unattended_upgrades_leave_it_alone():
    m = fresh()
    install()
    # As needrestart reads it: its configuration is Perl, a pattern with 0 is a unit that is not restarted.
    found = m.run("perl", "-e", r'our %nrconf; do "/etc/needrestart/conf.d/leeward.conf" // die $@; '
                                r'foreach my $unit (@ARGV) { print "$unit " if grep { $unit =~ /$_/ && !$nrconf{override_rc}{$_} } keys %{$nrconf{override_rc}} }',
                  "leeward.service", "ssh.service", "not-leeward.service").stdout.split()
    equal(found, ["leeward.service"], "units that are not restarted")
    # As unattended-upgrades reads it: apt's configuration, patterns from the beginning of a package's name.
    patterns = m.run("apt-config", "dump", "--format", "%v%n", "Unattended-Upgrade::Package-Blacklist").stdout.split()
    equal(patterns, ["leeward$"], "packages that are not upgraded")
