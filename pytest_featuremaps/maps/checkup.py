"""A checkup of feature maps: what health looks at, taken from what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from pytest_featuremaps.checks import health
from pytest_featuremaps.checks.vitals import Limits, Vitals
from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.maps.feature_map import FeatureMap
from pytest_featuremaps.numbers.stats import Stats

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True

# How far from its end a function counts as saturated, as a share of its range. There the slope
# of a sigmoid is 4 % of its largest, and that of tanh 4 %.
_NEAR = 0.01
_BOUNDS = {
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
}
# These cut off hard: what counts is what was cut, at the very ends.
_CLIPPING = frozenset({"hardtanh", "relu6", "clamp", "clip"})
_LIMITED = _CLIPPING.union(_BOUNDS)


def examine(maps: Mapping[str, FeatureMap], limits: Limits) -> str:
    """Say what is wrong with feature maps, in order; empty when nothing is.

    Raises:
        CaptureError: there are maps, and of none is anything known but its shape.
        UnsupportedTensor: likewise, none has readable values.
    """
    vitals = []
    obstacle: CaptureError | UnsupportedTensor | None = None
    for key, one in maps.items():
        try:
            vitals.append(_vitals(key, one))
        except (CaptureError, UnsupportedTensor) as error:
            obstacle = obstacle or error
    if obstacle is not None and not vitals:
        raise obstacle
    return health.tell(health.examine(vitals, limits))


def _vitals(key: str, one: FeatureMap) -> Vitals:
    numbers, inputs = one.stats, _inputs(one)
    return Vitals(
        key=key,
        title=one.place.title,
        families=one.families,
        numbers=numbers,
        samples=_samples(one),
        infinite=one.infinite_count,
        saturated=_saturated(one),
        inputs=None if inputs is None else [stats for _, stats in inputs],
        inputs_finite=not any(
            stats.nan_count + taken.infinite_count for taken, stats in inputs or ()
        ),
        gradient=_gradient(one),
    )


def _samples(one: FeatureMap) -> int:
    axis = (one.layout or "").find("N")
    return one.shape[axis] if axis >= 0 else 1


def _inputs(one: FeatureMap) -> list[tuple[FeatureMap, Stats]] | None:
    return list(_readable(one.inputs)) if one.has_inputs else None


def _readable(maps: Mapping[str, FeatureMap]) -> Iterator[tuple[FeatureMap, Stats]]:
    for one in maps.values():
        try:
            yield one, one.stats
        except (CaptureError, UnsupportedTensor):
            continue


def _gradient(one: FeatureMap) -> Stats | None:
    try:
        return one.grad.stats
    except (CaptureError, UnsupportedTensor):
        return None


def _saturated(one: FeatureMap) -> float | None:
    """Return the share of values at the ends of a function with bounds.

    None for another function, and where the values were not kept.
    """
    name = next((name for name in map(_bare, one.families) if name in _LIMITED), "")
    values = one.kept.tensor
    if not name or values is None or not values.numel() or not values.is_floating_point():
        return None
    values = values.float()
    if name in _CLIPPING:
        return _at_ends(values, name)
    low, high = _BOUNDS[name]
    near = _NEAR * (high - low)
    return _share((values <= low + near) | (values >= high - near))


def _bare(name: str) -> str:
    return name.lower().rstrip("_")


def _at_ends(values: torch.Tensor, name: str) -> float:
    low, high = values.min(), values.max()
    if low == high:
        return 0.0
    top = values == high
    return _share(top if name == "relu6" else top | (values == low))


def _share(chosen: torch.Tensor) -> float:
    return int(chosen.sum()) / chosen.numel()
