"""Compare the feature maps of two models that are both here: a reference and a candidate."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Final

from pytest_featuremaps.baseline import comparing
from pytest_featuremaps.baseline.judging import Entry, shape_text
from pytest_featuremaps.baseline.renaming import Rename
from pytest_featuremaps.baseline.tables import INPUTS, Table
from pytest_featuremaps.baseline.tolerances import Tolerance, asked_for, estimate
from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.maps import measuring
from pytest_featuremaps.maps.feature_maps import FeatureMaps, view_of
from pytest_featuremaps.story import story
from pytest_featuremaps.wording import in_columns, listed, plain

FOUND: Final[deque[Comparison]] = deque(maxlen=8)
"""The latest comparisons that found a difference, for the report of a test that fails."""

_HEADINGS: Final = ("feature map", "module", "shape", "dtype", "SNR [dB]", "L2 change", "allowed")
_WORDS: Final = 4


class Comparison:
    """What differs between two models; true when every feature map is within tolerance.

    Printed, it is the story: the layer that diverges first, why, and what follows.
    """

    def __init__(self, verdict: comparing.Comparison) -> None:
        self._verdict = verdict

    def __bool__(self) -> bool:
        return bool(self._verdict)

    def __str__(self) -> str:
        return "\n".join(story.tell(self._verdict, "candidate", accept=""))

    def __repr__(self) -> str:
        return f"<Comparison: {story.headline(self._verdict, 'candidate', accept='')[0]}>"

    @property
    def first(self) -> Entry | None:
        """The first feature map that differs, with its `key` and its `kind`; None where none does.

        The kind is a word for what became of it, such as `"changed"`, `"reshaped"` or `"added"`.
        """
        return self._verdict.first

    def signal_to_noise(self) -> dict[str, float]:
        """Return how far each map stands above its change, in decibels.

        That is 20·log10(RMS of the reference / RMS of the difference), estimated from the
        sketches of both: within 1 dB for two maps of three. Infinite where nothing differs.
        Maps that cannot be subtracted, such as those of other shapes, are left out.
        """
        ratios = ((entry.key, _ratio(entry)) for entry in self._verdict.entries)
        return {key: ratio for key, ratio in ratios if ratio is not None}

    def table(self) -> str:
        """Return a table of all maps: how far each stands above its change."""
        rows = [_HEADINGS, *map(_row, self._verdict.entries)]
        return "\n".join(in_columns(rows, words=_WORDS))


def compare(
    reference: FeatureMaps,
    candidate: FeatureMaps,
    rename: Rename | None = None,
    tolerance: Tolerance | str | float | None = None,
) -> Comparison:
    """Compare two recordings, each map of one model with that of the same layer of the other.

    A map of float32 is compared with one of a narrower dtype, under the tolerance of the
    narrower one. Recorded with `keep="stats"`, maps are compared by their sketches, and those
    of neither model are held in memory. Of several models in one recording, take one each
    with `feature_maps.of("teacher")`.

    Args:
        reference: the maps of the model that is right.
        candidate: those of the model in question.
        rename: how keys of the reference are called in the candidate: a mapping of keys or
            of paths of layers, with all below them, a pair of a regular expression and its
            replacement, or a function from one key to the other.
        tolerance: a `Tolerance`, a relative L2 change, or the name of a profile; chosen for
            each map from its dtypes and devices when None.

    Raises:
        CaptureError: one of them holds no map, or statistics without sketches.
        BaselineError: `rename` does not fit.
        UnsupportedTensor: a map has no readable values.
        FeatureMapsError: no tolerance has this name.
        TypeError: one of them is no `FeatureMaps`.
    """
    before, after = _measured(reference, "reference"), _measured(candidate, "candidate")
    if {line.dtype for line in before.lines} != {line.dtype for line in after.lines}:
        # In another precision nothing has the same bytes, which says nothing.
        before, after = _without_digests(before), _without_digests(after)
    found = comparing.compare(
        before, after, asked_for(tolerance), rename, across_dtypes=True, against="reference"
    )
    comparison = Comparison(found)
    if not comparison:
        FOUND.append(comparison)
    return comparison


def _measured(maps: FeatureMaps, side: str) -> Table:
    if not isinstance(maps, FeatureMaps):
        raise TypeError(
            f"compare(): the {side} must be feature maps, not {type(maps).__name__}.\n"
            "Record them with `with pytest_featuremaps.capture(model, ...) as maps`; "
            '`maps.only("conv1")` are those of one layer.'
        )
    if not maps:
        raise CaptureError(f"compare(): the {side} holds no feature map.\n{maps.summary()}")
    table = measuring.table(view_of(maps))
    blind = [line.key for line in table.lines if line.stats and not (line.sketch or line.digest)]
    if blind:
        raise CaptureError(
            f'compare(): the {side} was captured with keep="stats" and without sketches, which '
            f"tell how far maps are apart: {listed(blind, most=6)}.\n"
            'Record it with `with pytest_featuremaps.capture(model, ..., keep="stats")`, or let '
            "the test request feature_snapshot as well."
        )
    inputs = table.environment.get(INPUTS)
    return Table({INPUTS: inputs} if inputs else {}, table.lines)


def _without_digests(table: Table) -> Table:
    lines = (replace(line, weights=None, inputs=None) for line in table.lines)
    return Table({}, tuple(lines))


def _change(entry: Entry) -> float | None:
    """The relative L2 change of a map, None where there is none to speak of."""
    before, after = entry.expected, entry.actual
    if before is None or after is None or before.shape != after.shape:
        return None
    if before.sketch and after.sketch:
        sizes = (before.stats.get("rms", 0.0), after.stats.get("rms", 0.0))
        return estimate(before.sketch, sizes[0], after.sketch, sizes[1])
    return 0.0 if before.digest and before.digest == after.digest else None


def _ratio(entry: Entry) -> float | None:
    change = _change(entry)
    if change is None or entry.expected is None or entry.actual is None:
        return None
    signal, other = (one.stats.get("rms", 0.0) for one in (entry.expected, entry.actual))
    noise = change * max(signal, other)
    if not noise:
        return math.inf
    return 20 * math.log10(signal / noise) if signal else -math.inf


def _row(entry: Entry) -> tuple[str, ...]:
    line = entry.actual or entry.expected
    if line is None:
        return ("",) * len(_HEADINGS)
    types = {one.dtype: None for one in (entry.expected, entry.actual) if one}
    facts = (
        plain(entry.key),
        plain(line.module_type),
        shape_text(line.shape),
        " → ".join(types),
    )
    change, ratio = _change(entry), _ratio(entry)
    if change is None or ratio is None:
        return (*facts, entry.kind, "", "")
    return (*facts, f"{ratio:.1f}", f"{change:.1e}", _allowed(entry))


def _allowed(entry: Entry) -> str:
    mark = "" if entry.agrees else " ✗"
    return f"{entry.allowed:.1e}{mark}"
