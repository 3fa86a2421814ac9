"""A checkup of feature maps: what health looks at, taken from what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from pytest_featuremaps.checks import health
from pytest_featuremaps.checks.vitals import Limits, Vitals
from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.maps import axes, given, gradients, values
from pytest_featuremaps.maps.record import Record
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


def examine(maps: Mapping[str, Record], limits: Limits) -> str:
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


def _vitals(key: str, one: Record) -> Vitals:
    numbers, inputs = values.stats(one), _inputs(one)
    return Vitals(
        key=key,
        title=one.title,
        families=axes.families(one),
        numbers=numbers,
        width=_width(one),
        samples=_samples(one),
        infinite=values.infinite_count(one),
        saturated=_saturated(one),
        inputs=None if inputs is None else [stats for _, stats in inputs],
        inputs_finite=not any(
            stats.nan_count + values.infinite_count(taken) for taken, stats in inputs or ()
        ),
        gradient=_gradient(one),
    )


def _width(one: Record) -> int | None:
    axis = axes.channel_axis(one)
    return None if axis is None else one.shape[axis]


def _samples(one: Record) -> int:
    axis = (axes.layout(one) or "").find("N")
    return one.shape[axis] if axis >= 0 else 1


def _inputs(one: Record) -> list[tuple[Record, Stats]] | None:
    return list(_readable(given.inputs(one))) if given.has_inputs(one) else None


def _readable(maps: Mapping[str, Record]) -> Iterator[tuple[Record, Stats]]:
    for one in maps.values():
        try:
            yield one, values.stats(one)
        except (CaptureError, UnsupportedTensor):
            continue


def _gradient(one: Record) -> Stats | None:
    try:
        return values.stats(gradients.gradient(one))
    except (CaptureError, UnsupportedTensor):
        return None


def _saturated(one: Record) -> float | None:
    """Return the share of values at the ends of a function with bounds.

    None for another function, and where the values were not kept.
    """
    name = next((name for name in map(_bare, axes.families(one)) if name in _LIMITED), "")
    kept = one.kept.tensor
    if not name or kept is None or not kept.numel() or not kept.is_floating_point():
        return None
    wide = kept.float()
    if name in _CLIPPING:
        return _at_ends(wide, name)
    low, high = _BOUNDS[name]
    near = _NEAR * (high - low)
    return _share((wide <= low + near) | (wide >= high - near))


def _bare(name: str) -> str:
    return name.lower().rstrip("_")


def _at_ends(wide: torch.Tensor, name: str) -> float:
    low, high = wide.min(), wide.max()
    if low == high:
        return 0.0
    top = wide == high
    return _share(top if name == "relu6" else top | (wide == low))


def _share(chosen: torch.Tensor) -> float:
    return int(chosen.sum()) / chosen.numel()
