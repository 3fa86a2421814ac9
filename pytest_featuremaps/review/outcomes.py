"""What became of a decision on a result, and what scripts are told of it: fields of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_featuremaps.review import deciding, listing
from pytest_featuremaps.review.records import RECORD
from pytest_featuremaps.review.selection import Selection
from pytest_featuremaps.wording import plain

_MOST = 5  # feature maps that a line names


def carry_out(decision: str, chosen: Selection, root: Path, *, dry: bool) -> dict[str, Any]:
    """Accept or reject feature maps of one result, and return what became of that.

    Args:
        decision: `accept` or `reject`.
        chosen: what it is about.
        root: the root directory, which paths of baselines are relative to.
        dry: whether only to find out if it can be done.
    """
    done, reason = f"would {decision}" if dry else f"{decision}ed", ""
    try:
        if decision == "accept":
            deciding.accept(chosen, root, dry=dry)
        else:
            deciding.reject(chosen, dry=dry)
    except (deciding.Refused, OSError) as error:
        done, reason = "refused", str(error)
    return {**_identified(chosen), "outcome": done, "reason": reason}


def line(outcome: dict[str, Any]) -> str:
    """Return what became of a decision in one line, safe to print."""
    maps = ", ".join(outcome["layers"][:_MOST]) + (" …" if len(outcome["layers"]) > _MOST else "")
    reason = f": {outcome['reason']}" if outcome["reason"] else f" ({maps})"
    return plain(f"{outcome['outcome']} {outcome['baseline']}{reason}", None)


def described(chosen: Selection) -> dict[str, Any]:
    """Return what there is to know of feature maps that wait for a decision."""
    result, record = chosen.result, chosen.result.record
    return {
        **_identified(chosen),
        "kind": record.kind,
        "status": record.status,
        "first": record.first,
        "why": record.why,
        "headline": record.headline,
        "pictures": [str(path) for path in listing.pictures(result)],
        "record": str(result.folder / RECORD),
    }


def _identified(chosen: Selection) -> dict[str, Any]:
    record = chosen.result.record
    return {
        "id": record.id,
        "test": record.test,
        "baseline": record.baseline,
        "layers": [one.key for one in record.pending if one.key in chosen.keys],
    }
