"""`python -m torture`: the whole sweep, as a table; exits with 1 where anything went wrong."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from torture.sweep import HEADER, line, sweep


def main() -> int:
    """Sweeps and tells."""
    words = argparse.ArgumentParser(prog="torture", description=__doc__)
    words.add_argument("--seed", type=int, default=1, help="of every random choice")
    words.add_argument("--only", action="append", default=[], help="faults whose name holds this; repeatable")
    words.add_argument("--scale", type=float, default=1.0, help="this share of the trials")
    words.add_argument("--brief", action="store_true", help="the subset of the test suite")
    chosen = words.parse_args()
    began, is_well = time.monotonic(), True
    sys.stdout.write(f"seed {chosen.seed}\n{HEADER}\n")
    with tempfile.TemporaryDirectory(prefix="torture-") as root:
        for fault, tally in sweep(Path(root), chosen.seed, brief=chosen.brief, only=chosen.only, scale=chosen.scale):
            is_well &= tally.is_skipped or tally.passed == tally.trials
            notes = "" if tally.is_skipped else "".join(f"    {note}\n" for note in tally.notes)
            sys.stdout.write(f"{line(fault, tally)}\n{notes}")
            sys.stdout.flush()
    sys.stdout.write(f"{'all passed' if is_well else 'FAILED'} in {time.monotonic() - began:.0f} s\n")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
