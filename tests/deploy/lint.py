"""The code of ansible/ by the field's own rules."""
from leeward.claims import expect
import control


def ansible_lint_at_its_production_profile_and_yamllint_find_nothing():
    for words in (["ansible-lint", "--offline", "--strict", "-q"], ["yamllint", "--strict", "."]):
        done = control.command(*words)
        expect(done.returncode == 0, f"{' '.join(words)}:\n{done.stdout[-4000:]}")
