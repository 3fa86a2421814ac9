"""A table line by line: the accepted ones as they are now, the others as they were."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytest_featuremaps.baseline import table_files
from pytest_featuremaps.errors import FeatureMapsError
from pytest_featuremaps.review.records import AGREEING, Map


class Clash(FeatureMapsError, ValueError):
    """Lines that cannot be accepted without each other."""


def choose(
    expected: bytes | None, update: bytes, maps: Sequence[Map], accepted: Collection[str]
) -> bytes:
    """Return a table with the accepted lines of an update; the others stay as they were.

    Its lines end in LF; `ended_as` gives them another end.

    Args:
        expected: the baseline; None where there is none yet.
        update: what an update of all of it would write.
        maps: the verdict on each map, in order.
        accepted: the keys of those that are accepted.

    Raises:
        Clash: two lines would have the same key, or the maps are not those of the tables.
        BadBaseline: these bytes are no tables.
    """
    header, after = _pieces(update)
    before: dict[str, bytes] = {}
    if expected is not None:
        header, before = _pieces(expected)
    chosen: dict[str, bytes] = {}
    for one in maps:
        taken = one.key in accepted or one.kind in AGREEING
        key = one.actual_key if taken else one.expected_key
        if key is None:
            continue
        if key in chosen:
            raise Clash(
                f"{key} would stand in the table twice, for another map had this key before: "
                "accept the whole table"
            )
        source = after if taken else before
        if key not in source:
            raise Clash(f"{key} is in its record, and not in the table: run the test again")
        chosen[key] = source[key]
    lost = before.keys() - chosen.keys() - {one.expected_key for one in maps}
    if lost:
        raise Clash(f"{min(lost)} is in the baseline, and not in its record: run the test again")
    return b"".join(line + b"\n" for line in (header, *chosen.values()))


def ended_as(other: bytes | None, data: bytes) -> bytes:
    """Return a table whose lines end as those of another do, as a checkout may have turned them."""
    plain = data.replace(b"\r\n", b"\n")
    turned = other is not None and b"\r\n" in other
    return plain.replace(b"\n", b"\r\n") if turned else plain


def _pieces(table: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Return the first line of a table, and the others by key."""
    pieces, known = table_files.read_pieces(table)
    header, *lines = (piece.rstrip(b"\r") for piece in pieces)
    return header, {line.key: piece for line, piece in zip(known.lines, lines, strict=True)}
