"""How hard hostile tests try, and a plugin that tells what they tried.

`FEATUREMAPS_LONG` multiplies the number of cases; `tests/benchmarks/attack.py` sets it.
"""

import os
from collections import Counter

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("FEATUREMAPS_LONG", "1"))

TRIED = Counter()
"""How many cases were tried, and how many faults they met, by what was attacked."""


def cases(count):
    """Return settings of hypothesis for so many cases, or a multiple of them in a long run."""
    return settings(
        max_examples=count * FACTOR,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def pytest_terminal_summary(terminalreporter):
    """Tell what was tried, where this module is loaded as a plugin."""
    for kind, count in sorted(TRIED.items()):
        terminalreporter.write_line(f"attacked: {kind}: {count}")
