"""A project with baselines and results that wait for review, made without a test run."""

import numpy as np

from pytest_featuremaps import rendering
from pytest_featuremaps.baseline import table_files, tables
from pytest_featuremaps.review import folder
from pytest_featuremaps.review.records import File, Map, Record, digest, identity

TEST = "tests/test_it.py::test_a"
KEYS = ("conv1", "conv2", "conv3")


def table(values, environment=None):
    stats = {"mean": 0.0, "std": 1.0}
    return table_files.dump(
        tables.Table(
            environment or {"torch": "2"},
            tuple(
                tables.Line(key, "Conv2d", (1, 4), "float32", "cpu", {**stats, "mean": value})
                for key, value in values.items()
            ),
        )
    )


def drawn(value):
    planes = np.linspace(0, value, 2 * 4 * 4).reshape(2, 4, 4)
    return rendering.encode(rendering.render(planes))


BEFORE = table(dict.fromkeys(KEYS, 0.0))
AFTER = table(dict.fromkeys(KEYS, 1.0), {"torch": "3"})


class Project:
    """A root directory with baselines, and results that wait."""

    def __init__(self, path):
        self.root = path
        self.output = path / ".featuremaps"
        (path / "tests").mkdir(parents=True)
        (path / "tests" / "test_it.py").touch()

    def path(self, name="test_a.jsonl"):
        return self.root / "tests" / "__snapshots__" / "test_it" / name

    def store(self, data, name="test_a.jsonl"):
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(data)

    def leave(self, expected=BEFORE, update=AFTER, maps=None, file="test_a.jsonl", **fields):
        kind = "table" if file.endswith(".jsonl") else "picture"
        ending = file[file.rindex(".") :]
        maps = maps or tuple(Map(key, "changed", "moved", key, key) for key in KEYS)
        baseline = f"tests/__snapshots__/test_it/{file}"
        files = {f"update{ending}": update}
        if expected is not None:
            files[f"expected{ending}"] = expected
        known = {
            "test": TEST, "name": "", "kind": kind, "baseline": baseline,
            "id": identity(baseline, digest(update, kind)), "levels": 1,
            "status": "new" if expected is None else "changed", "first": maps[0].key,
            "why": "its weights changed", "headline": ("it moved",), "story": ("the whole",),
            "update": File(f"update{ending}", digest(update, kind)), "actual": None,
            "expected": expected and File(f"expected{ending}", digest(expected, kind)),
            "difference": None, "environment": (), "maps": maps,
        }  # fmt: skip
        record = Record(**{**known, **fields})
        return folder.write(self.output, record, files)

    def with_results(self):
        """Leave a table and a picture that wait for review, and return the project."""
        self.store(BEFORE)
        self.leave()
        self.store(drawn(1), "test_a[conv1].png")
        maps = (Map("conv1", "changed", "1 of 2 channels differs", "conv1", "conv1"),)
        self.leave(drawn(1), drawn(2), maps, "test_a[conv1].png")
        return self

    def left(self):
        return [one.record for one in folder.read(self.output)] if self.output.exists() else []
