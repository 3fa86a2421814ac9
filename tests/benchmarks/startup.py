"""What the plugin costs a pytest run that does not use it: start to end, whole processes.

Usage: python tests/benchmarks/startup.py [ROUNDS]
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import entry_points, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's folder out

from pairing import difference, interleaved, machine, median_ms, table

TEST = "def test_nothing():\n    pass\n"

WITH = "syrupy and pytest-featuremaps"
ALONE = "syrupy alone"
AGAIN = "syrupy alone, once more"
NEITHER = "neither"


def main(rounds):
    installed = {entry.name for entry in entry_points(group="pytest11")}
    assert {"syrupy", "featuremaps"} <= installed, f"installed plugins are: {sorted(installed)}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_nothing.py").write_text(TEST)
        ways = {
            WITH: partial(run, folder, installed - {"syrupy", "featuremaps"}),
            ALONE: partial(run, folder, installed - {"syrupy"}),
            AGAIN: partial(run, folder, installed - {"syrupy"}),
            NEITHER: partial(run, folder, installed),
        }
        seconds = interleaved(ways, rounds)
    rows = [
        (f"`pytest` with {name}", median_ms(taken), _over(name, taken, seconds[ALONE]))
        for name, taken in seconds.items()
    ]
    print(f"pytest, start to end, one empty test: {rounds} rounds, median [middle half].\n")
    print(table(["run", "time", "over syrupy alone"], rows))
    print()
    print(machine(f"pytest {version('pytest')}", f"syrupy {version('syrupy')}"))


def run(folder, blocked):
    """Run pytest on the empty test, without these of the environment's plugins."""
    blocks = [f"-pno:{name}" for name in sorted(blocked)]
    command = [sys.executable, "-m", "pytest", "-q", *blocks, "test_nothing.py"]
    subprocess.run(command, cwd=folder, env=_environment(folder), check=True, capture_output=True)


def _environment(folder):
    """Leave out what would add plugins or options, and keep compiled files, of all runs alike."""
    ours = {"PYTHONPYCACHEPREFIX": str(Path(folder) / "compiled")}
    unwanted = {"PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "PYTEST_PLUGINS"}
    return {name: value for name, value in os.environ.items() if name not in unwanted} | ours


def _over(name, taken, alone):
    return "–" if name == ALONE else difference(taken, alone)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
