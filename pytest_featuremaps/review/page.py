"""The page of a report: one file, which needs no network and runs nothing but its own script."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_featuremaps.review.folder import Result
from pytest_featuremaps.review.grouping import causes
from pytest_featuremaps.review.records import File, Record

_SCRIPTS = ("picture.js", "cards.js", "viewer.js", "start.js")


def render(results: Iterable[Result], unused: Sequence[str] = ()) -> bytes:
    """Return an HTML page to look at results and to decide on them.

    Args:
        results: what waits for review.
        unused: paths of baselines that no test asks for.

    Raises:
        OSError: a picture of a result cannot be read.
    """
    pictures: list[str] = []
    results = list(results)
    known = causes([result.record for result in results])
    numbers = {cause: number for number, cause in enumerate(dict.fromkeys(known.values()))}
    place = {key: numbers[cause] for key, cause in known.items()}
    described = [_describe(result, pictures, place) for result in results]
    style, script = _part("page.css"), "".join(map(_part, _SCRIPTS))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src {_source(style)}; script-src {_source(script)}"
    )
    parts = {
        "POLICY": policy,
        "STYLE": style,
        "DATA": _as_json(
            {
                "results": described,
                "causes": [cause.words for cause in numbers],
                "unused": list(unused),
            }
        ),
        "PICTURES": "\n".join(pictures),
        "SCRIPT": script,
    }
    pieces = _part("page.html").split("@")
    return "".join(parts.get(piece, piece) for piece in pieces).encode()


def _describe(
    result: Result, pictures: list[str], cause_of: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    """Return what the page has to know of a result.

    Its pictures stand apart, as do the causes of what changed: both by their number.
    """
    record = result.record
    numbers = {}
    for name, file in _pictures(record):
        numbers[name] = len(pictures)
        encoded = base64.b64encode(result.read(file)).decode("ascii")
        pictures.append(f'<script type="text/plain" id="p{len(pictures)}">{encoded}</script>')
    fields = (
        *("id", "test", "name", "kind", "status", "baseline", "revision"),
        *("first", "why", "levels", "story"),
    )
    return {
        **{name: getattr(record, name) for name in fields},
        "environment": record.environment,
        "pictures": numbers,
        "maps": [
            {**asdict(one), "pending": one.pending, "cause": cause_of.get((record.id, one.key))}
            for one in record.maps
        ],
    }


def _pictures(record: Record) -> Iterator[tuple[str, File]]:
    """Yield the pictures to be shown: two of the same ranges, or what is new alone."""
    if record.kind == "picture" and record.expected and record.actual:
        yield "expected", record.expected
        yield "actual", record.actual
    elif record.kind == "picture":
        yield "actual", record.update


def _as_json(data: object) -> str:
    """Return JSON that no HTML can begin or end in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


@functools.cache
def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
