"""What a table of numbers costs besides the sketches in it: written, read, compared, updated.

Usage: python tests/benchmarks/table.py [ROUNDS]
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's folder out

from pairing import interleaved, machine, median_ms, ratio, table

from pytest_featuremaps.baseline.comparing import compare, merge
from pytest_featuremaps.baseline.table_files import dump, load
from pytest_featuremaps.baseline.tables import Line, Table
from pytest_featuremaps.story.story import tell

SIZES = (100, 1_000, 10_000)


def main(rounds):
    ways = {}
    for size in SIZES:
        stored, drifted, changed = network(size), network(size, 1e-6), network(size, 1e-2)
        written = dump(stored)
        ways |= {
            ("write", size): partial(dump, stored),
            ("read", size): partial(load, written),
            ("compare, all within tolerance", size): partial(compare, stored, drifted),
            ("compare, half of them changed", size): partial(compare, stored, changed),
            ("tell the story of these", size): partial(story, stored, changed),
            ("update, all within tolerance", size): partial(merge, written, drifted),
            ("write, read and compare", size): partial(whole, written, changed),
        }
    seconds = interleaved(ways, rounds)
    rows = [
        (
            name,
            *(median_ms(seconds[name, size]) for size in SIZES),
            ratio(seconds[name, SIZES[2]], seconds[name, SIZES[1]]),
        )
        for name in dict.fromkeys(name for name, _ in ways)
    ]
    headings = ["a table", *(f"{size:,} maps" for size in SIZES), f"{SIZES[2]:,} / {SIZES[1]:,}"]
    print(f"Tables of feature maps: {rounds} rounds, median, and [middle half] of the ratios.\n")
    print(table(headings, rows))
    print(f"\nA map takes {len(written) / size:.0f} bytes.\n")
    print(machine(f"numpy {np.__version__}"))


def whole(stored, now):
    return dump(now), compare(load(stored), now)


def story(before, after):
    return tell(compare(before, after), "a network")


def network(size, change=0.0):
    """Make up the table of a network, whose second half has changed."""
    generator = np.random.default_rng(0)
    lines = tuple(made_up(number, generator) for number in range(size))
    if not change:
        return Table({"torch": "2.13.0"}, lines)
    moved = tuple(moved_by(change, one) for one in lines[size // 2 :])
    return Table({"torch": "2.13.0"}, lines[: size // 2] + moved)


def made_up(number, generator):
    mean, std = generator.normal(), generator.uniform(0.1, 2)
    return Line(
        key=f"encoder.stages.{number // 100}.layers.{number % 100}.projection",
        module_type="Conv2d",
        shape=(1, 64, 56, 56),
        dtype="float32",
        device="cpu",
        stats={
            "mean": mean,
            "std": std,
            "min": mean - 4 * std,
            "max": mean + 4 * std,
            "rms": (mean * mean + std * std) ** 0.5,
            "zero_fraction": generator.uniform(),
            "nan_count": 0,
            "inf_count": 0,
            "count": 64 * 56 * 56,
        },
        sketch=tuple(generator.normal(0, 1e7 / 61**0.5, 61).astype(int).tolist()),
        digest=f"{number:016x}",
        weights=f"{number:016x}",
    )


def moved_by(change, line):
    """Change a map by a share of its RMS."""
    sketch = tuple(round(value * (1 + change)) for value in line.sketch)
    return replace(line, sketch=sketch, digest="0" * 16)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
