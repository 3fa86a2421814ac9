"""The table of numbers that stands for a test's feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

Value: TypeAlias = str | int | bool | None

BUCKETS: Final = 61
INPUTS: Final = "inputs"
"""The name, in a table's environment, of the digest of the model's inputs."""

COUNTS: Final = ("nan_count", "inf_count", "count")
STATISTICS: Final = ("mean", "std", "min", "max", "rms", "zero_fraction", *COUNTS)


@dataclass(frozen=True)
class Line:
    """One feature map, in numbers.

    Attributes:
        key: its key in the run that recorded it.
        module_type: the class name of the layer, or the name of the functional call.
        shape: its sizes.
        dtype: such as `float32`.
        device: such as `cpu` or `cuda:0`.
        stats: those of `mean std min max rms zero_fraction nan_count inf_count count` that are
            known; NaN where there is nothing to measure.
        sketch: 61 signed sums, in units of 1e-7 × RMS.
        nonfinite: the same sums over the mask of non-finite values; None if all are finite.
        digest: of its bytes.
        weights: digest of the layer's own weights; None where it has none, empty where they are
            not known.
        inputs: digest of what went into the layer.
        noise: relative L2 change of this map between two ways to compute it, as measured.
    """

    key: str
    module_type: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    stats: Mapping[str, float | int]
    sketch: tuple[int, ...] | None = None
    nonfinite: tuple[int, ...] | None = None
    digest: str | None = None
    weights: str | None = None
    inputs: str | None = None
    noise: float | None = None


@dataclass(frozen=True)
class Table:
    """The feature maps of one run in order of completion, and where they were computed."""

    environment: Mapping[str, Value]
    lines: tuple[Line, ...]
