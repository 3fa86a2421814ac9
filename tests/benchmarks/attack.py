"""The hostile tests, many times as long: how many cases were tried, and what they met.

    python tests/benchmarks/attack.py 15

The number says how many times as many cases are tried as in the suite, where 1 takes a minute.
What is printed is in the README; a case that fails is printed as by pytest, and ends with 1.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).parent.parent
FILES = ("test_hostile_models.py", "test_hostile_files.py", "test_hostile_signals.py")


def attack(name):
    """Run one file of tests; return its exit code and its output."""
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "attacking"]
    run = subprocess.run(
        [*command, str(TESTS / name)], env=here, capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout


def main(factor):
    os.environ["FEATUREMAPS_LONG"] = factor
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(attack, FILES))
    tried = Counter()
    for code, output in runs:
        lines = re.findall(r"^attacked: (.+): (\d+)$", output, re.MULTILINE)
        tried.update({kind: int(count) for kind, count in lines})
        if code:
            print(output)
    for kind, count in sorted(tried.items()):
        print(f"{count:9,}  {kind}")
    return max(code for code, _ in runs)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
