"""Measuring side by side: every round times every way once, and only a round's own are compared."""

import gc
import os
import platform
import statistics
import time
from pathlib import Path


def timed(call):
    """Return the seconds that one call takes; freeing its result is not counted."""
    gc.collect()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    del result
    return seconds


def interleaved(ways, rounds):
    """Time each way once per round, after one round to warm up.

    Each round starts with another way, and every second one runs backwards, so that neither
    a drift of the machine nor what ran before favours one of them.
    """
    names = list(ways)
    for name in names:
        timed(ways[name])
    seconds = {name: [] for name in names}
    for count in range(rounds):
        first = count % len(names)
        order = names[first:] + names[:first]
        for name in order[:: -1 if count % 2 else 1]:
            seconds[name].append(timed(ways[name]))
    return seconds


def ratio(over, under):
    """Write the median of the rounds' ratios, and the middle half of them."""
    low, middle, high = statistics.quantiles(ratios(over, under), method="inclusive")
    return f"{middle:.2f}× [{low:.2f} – {high:.2f}]"


def ratios(over, under):
    return [a / b for a, b in zip(over, under, strict=True)]


def difference(one, other):
    """Write the median of the rounds' differences in ms, and the middle half of them."""
    low, middle, high = statistics.quantiles(
        (1000 * (a - b) for a, b in zip(one, other, strict=True)), method="inclusive"
    )
    return f"{middle:+.1f} ms [{low:+.1f} – {high:+.1f}]"


def median_ms(values):
    """Write the median of some seconds in ms."""
    return f"{1000 * statistics.median(values):.0f} ms"


def table(headings, rows):
    """Return a Markdown table; columns after the first are aligned to the right."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write_between(name, text, file):
    """Replace what stands between two comments in a file: `<!-- NAME -->` and `<!-- /NAME -->`."""
    whole = file.read_text(encoding="utf-8")
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = whole.partition(first)
    _, closed, after = rest.partition(last)
    if not (found and closed):
        raise SystemExit(f"{file}: there is no {first.strip()} followed by {last}")
    file.write_text(f"{before}{first}{text}{last}{after}", encoding="utf-8")


def machine(*more):
    """Say in one line what this was measured on, and how busy it is."""
    load = [f"load {os.getloadavg()[0]:.1f}"] if hasattr(os, "getloadavg") else []
    cores = f"{os.cpu_count()} cores"
    python = f"Python {platform.python_version()}"
    return ", ".join([_processor(), cores, platform.system(), python, *more, *load])


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()
