"""The options of comparisons: those of the run, and those of one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_featuremaps.baseline.renaming import Rename
from pytest_featuremaps.baseline.tolerances import Tolerance, name_of
from pytest_featuremaps.runs.noise_run import NoiseRun


@dataclass(frozen=True)
class RunOptions:
    """What the run says of all comparisons of a test.

    Attributes:
        accept: the command that records the test's baselines anew.
        updates: whether this run records them.
        tolerance: the tolerance of the run, as the user wrote it; None where there is none.
        source: where the user wrote it.
        noise_run: the second run, by which noise is measured; None where there is none.
    """

    accept: str
    updates: bool
    tolerance: str | None
    source: str
    noise_run: NoiseRun | None


@dataclass(frozen=True)
class ComparisonOptions:
    """What the user asked of one comparison; see `FeatureSnapshot.__call__`.

    `source` says where the tolerance was asked for: in this comparison, or for the run.
    """

    name: str | None = None
    tolerance: Tolerance | str | None = None
    source: str = ""
    sample: int | None = None
    channels: Sequence[int] | None = None
    rename: Rename | None = None

    @property
    def held_to(self) -> str:
        """The tolerance that was asked for, and where; empty where none was."""
        if self.tolerance is None:
            return ""
        return f"{name_of(self.tolerance)}, as {self.source} says"
