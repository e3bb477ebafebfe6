"""The benchmarks' front: names are checked, and each measurement can be asked for by itself."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    """A misspelt name runs nothing and lists what can be run."""
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "nonsense" in found.stderr
    assert "images" in found.stderr


def test_every_measurement_has_a_front_door() -> None:
    """Each `bench_*.py` can be imported without running, and has a `main`."""
    program = (
        "from importlib import import_module\n"
        "from benchmarks.__main__ import chosen\n"
        "names = chosen([])\n"
        "print([callable(import_module(f'benchmarks.bench_{name}').main) for name in names], names)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "False" not in found.stdout
    assert "images" in found.stdout
