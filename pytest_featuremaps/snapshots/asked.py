"""What one comparison was asked for, checked before anything is compared."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from pytest_featuremaps.errors import BaselineError


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
