"""The options of comparisons: those of the run, and those of one comparison."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_featuremaps.baseline.renaming import Rename
from pytest_featuremaps.baseline.tolerances import Tolerance, name_of
from pytest_featuremaps.errors import BaselineError
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


def sample_of(asked: int | None) -> int | None:
    """Return the number of a sample.

    Raises:
        BaselineError: it is no whole number.
    """
    if asked is None:
        return None
    number = _whole(asked)
    if number is None:
        raise BaselineError(
            f"sample= is the number of one sample of the batch, from 0, not {asked!r}."
        )
    return number


def channels_of(asked: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the numbers of channels.

    Raises:
        BaselineError: they are no whole numbers, or there are none.
    """
    if asked is None:
        return None
    given: Any = asked
    numbers = [_whole(one) for one in given] if hasattr(given, "__iter__") else []
    chosen = tuple(one for one in numbers if one is not None)
    if not chosen or len(chosen) < len(numbers):
        raise BaselineError(
            f"channels= lists the numbers of channels, from 0, as [0, 5]; not {asked!r}."
        )
    return chosen


def _whole(value: Any) -> int | None:  # noqa: ANN401 - whatever a test says
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
