"""Runs functions named after behaviours and closes with `N passed, N failed`."""
import sys
import time
import traceback


def main(tests):
    """tests: functions without arguments; names on the command line select."""
    chosen = [t for t in tests if not sys.argv[1:] or t.__name__ in sys.argv[1:]]
    failed = 0
    for test in chosen:
        started = time.monotonic()
        try:
            test()
            verdict = "ok"
        except Exception:  # every kind of failure is reported and counted
            traceback.print_exc(file=sys.stdout)
            verdict, failed = "FAILED", failed + 1
        print(f"{verdict:<6} {test.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not chosen else 0)
