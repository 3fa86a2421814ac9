"""A failed comparison, as reports and reviews tell of it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_featuremaps.baseline.comparing import Comparison


@dataclass(frozen=True)
class Failure:
    """Why a comparison failed, in words, and what it compared.

    Attributes:
        title: the name of the baseline's file.
        headline: at most six short lines, the most telling first.
        story: all of it.
        comparison: the numbers that were compared; None where there was no readable baseline.
        location: the path of the baseline's file.
        expected: its bytes; None where there is none.
        actual: the bytes that an update would write.
        redrawn: the picture now, drawn over the ranges of values of the baseline's; None where
            there are not two pictures.
        name: what the comparison is called in its test; usually empty.
        revision: what it was compared with, where that is no committed baseline.
    """

    title: str
    headline: list[str]
    story: list[str]
    comparison: Comparison | None = None
    location: str = ""
    expected: bytes | None = None
    actual: bytes = b""
    redrawn: bytes | None = None
    name: str = ""
    revision: str = ""
