"""How far the feature maps of real networks drift on this machine, and who would notice.

Usage: python tests/benchmarks/drift.py [NETWORK...]
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # PYTHONSAFEPATH leaves a script's folder out
sys.path.insert(0, str(Path(__file__).parent))

import drifting
import torch
import zoo
from pairing import machine, table

from pytest_featuremaps.baseline.comparing import compare

COLUMNS = {
    "one thread": ("as it is", "one"),
    "AVX2": ("AVX2", "one"),
    "lowest capability": (drifting.LOWEST, "one"),
    "oneDNN off": ("as it is", "plain"),
}


def main(names):
    with tempfile.TemporaryDirectory() as folder:
        recorded = drifting.record(Path(folder), names)
        weights = {name: torch.load(Path(folder, f"{name}.pt")) for name in names}
    reference = recorded.pop(drifting.REFERENCE)
    rows = []
    for name in names:
        tables = {way: found[name] for way, found in recorded.items()}
        lowest = tables[drifting.LOWEST, "one"]
        rows.append(row(name, reference[name], lowest, tables, weights[name]))
    others = len(recorded) + 2
    headings = ["network", "maps", *COLUMNS, "in a batch of four", "channels last"]
    headings += ["beyond 1e-4", "beyond measured noise"]
    print(
        "Largest relative L2 change of any map, against the usual capability and two threads; "
        f"in how many of {others} ways to compute it a network fails.\n"
    )
    print(table(headings, rows) + "\n")
    print(machine(f"torch {torch.__version__}", f"capability {_capability()}"))


def row(name, reference, lowest, tables, weights):
    model = zoo.load(name, weights)
    alone, together = (zoo.record(model, zoo.sample(name, count), sample=0) for count in (1, 4))
    pairs = [(reference, after) for after in tables.values()] + [(alone, together)]
    last = None
    if zoo.NETWORKS[name].takes_images:
        inputs = {key: values.to(**LAST) for key, values in zoo.sample(name).items()}
        last = zoo.record(model.to(**LAST), inputs, sample=0)
        pairs.append((alone, last))
    noisy = [(drifting.with_noise(before, lowest), after) for before, after in pairs]
    return [
        name,
        len(reference.lines),
        *(worst(reference, tables[way]) for way in COLUMNS.values()),
        worst(alone, together),
        worst(alone, last) if last else "–",
        failures(pairs),
        failures(noisy),
    ]


LAST = {"memory_format": torch.channels_last}


def worst(before, after):
    return f"{max(drifting.changes(before, after).values()):.1e}"


def failures(pairs):
    return sum(not compare(before, after) for before, after in pairs)


def _capability():
    return torch.backends.cpu.get_cpu_capability()


if __name__ == "__main__":
    main(sys.argv[1:] or list(zoo.NETWORKS))
