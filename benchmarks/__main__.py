"""`python -m benchmarks [NAME...]`: runs the measurements in this folder, all of them or those that are named.

Each `bench_NAME.py` has a `main()` that prints small tables: figures of this program and of its peers from one run on
the same input, as ratios, since absolute figures change with the machine. A peer that is not installed is said to be
missing.
"""

import sys
import time
from importlib import import_module
from pathlib import Path

PREFIX = "bench_"


def chosen(words: list[str]) -> list[str]:
    """The measurements to run, in order of their names.

    Raises:
        SystemExit: one that is asked for is not there.
    """
    there = sorted(path.stem.removeprefix(PREFIX) for path in Path(__file__).parent.glob(f"{PREFIX}*.py"))
    asked = [word.removeprefix(PREFIX).removesuffix(".py") for word in words]
    unknown = [word for word in asked if word not in there]
    if unknown:
        raise SystemExit(f"no benchmark {', '.join(unknown)}; there are: {', '.join(there)}")
    return asked or there


def run(words: list[str]) -> None:
    """Runs them one after the other."""
    names = chosen(words)
    sys.argv = sys.argv[:1]  # a measurement reads arguments of its own where it is run as a script
    for name in names:
        began = time.monotonic()
        print(f"\n=== {name}", flush=True)
        import_module(f"benchmarks.{PREFIX}{name}").main()
        print(f"--- {name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    run(sys.argv[1:])
