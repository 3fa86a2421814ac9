"""What two lines may share that makes them the same layer, from the surest on."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from pytest_featuremaps.baseline.key_parts import first_call, skeleton, split
from pytest_featuremaps.baseline.tables import Line
from pytest_featuremaps.baseline.tolerances import estimate

_SAME: Final = 1e-3  # a relative L2 change that is another machine's rounding, not another layer


def same_weights(line: Line) -> Hashable:
    """Return its weights, and which call and output of the layer it is."""
    return (line.weights, split(first_call(line.key))[1]) if line.weights else None


def same_values(line: Line) -> Hashable:
    """Return its values; None where they are not known, or all zero, as those of many may be."""
    known = line.digest and line.stats.get("rms") != 0
    return (line.digest, *same_form(line)) if known else None


def same_key(line: Line) -> Hashable:
    """Return its key, whether or not further calls follow."""
    return first_call(line.key)


def same_key_and_type(line: Line) -> Hashable:
    """Return its key, whether or not further calls follow, and the kind of its module."""
    return first_call(line.key), line.module_type


def same_skeleton_and_type(line: Line) -> Hashable:
    """Return its key without the numbers of containers, and the kind of its module."""
    return skeleton(line.key), line.module_type


def same_container_and_type(line: Line) -> Hashable:
    """Return the path around it, and the kind of its module."""
    path, suffix = split(line.key)
    return tuple(path[:-1]), suffix, line.module_type


def same_skeleton(line: Line) -> Hashable:
    """Return its key without the numbers of containers."""
    return skeleton(line.key)


def same_two_names(line: Line) -> Hashable:
    """Return the last two names of its path, and the kind of its module."""
    path, suffix = split(line.key)
    return tuple(path[-2:]), suffix, line.module_type


def same_name(line: Line) -> Hashable:
    """Return the last name of its path, the kind of its module and its shape."""
    path, suffix = split(line.key)
    return tuple(path[-1:]), suffix, line.module_type, line.shape


def same_form(line: Line) -> tuple[Hashable, ...]:
    """Return the kind of its module, its shape and its dtype."""
    return line.module_type, line.shape, line.dtype


def contradict(expected: Line, actual: Line) -> bool:
    """Tell whether two lines surely are not of the same weights."""
    return None is not expected.weights != actual.weights is not None


def hold_the_same(expected: Line, actual: Line) -> bool:
    """Tell whether two lines have the same values, up to rounding."""
    if expected.digest and expected.digest == actual.digest:
        return True
    if not (expected.sketch and actual.sketch):
        return False
    sizes = (expected.stats.get("rms", 0.0), actual.stats.get("rms", 0.0))
    return estimate(expected.sketch, sizes[0], actual.sketch, sizes[1]) <= _SAME
