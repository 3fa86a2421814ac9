"""What a failed comparison leaves: one JSON record and the files that it speaks of.

JSON is the contract: whatever shows or accepts a result reads it from there. The attributes
below are its fields, under the same names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from pytest_featuremaps.errors import FeatureMapsError

T = TypeVar("T")

_FORMAT: Final = 1
RECORD: Final = "record.json"

_KINDS: Final = ("table", "picture")
_STATUSES: Final = ("changed", "new", "unreadable")
_DECISIONS: Final = ("", "accepted", "rejected")
_BESIDE: Final = re.compile(r"[a-z]+\.(?:jsonl|png)")
AGREEING: Final = frozenset({"equal", "within"})


class BadRecord(FeatureMapsError, ValueError):
    """A record that cannot be read; the text is one sentence that says why."""


@dataclass(frozen=True)
class File:
    """A file beside the record.

    Attributes:
        file: its name.
        sha256: the digest of its bytes; of a table's, as if its lines ended in a newline alone.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class Map:
    """The verdict on one feature map of a comparison.

    Attributes:
        key: its key.
        kind: `equal within changed added removed reshaped retyped renamed`.
        says: what changed, in words; empty if nothing did.
        expected_key: its key in the baseline; None if it is not there.
        actual_key: its key in the run; None if it is not there.
        partner: the key under which the same map stands as well, renamed: the two are decided
            together; None if there is none.
        module: the class name of its layer.
        tolerance: the name of the tolerance it was held to.
        before: its shape, dtype and statistics in the baseline.
        after: the same in the run.
        violations: `quantity`, `observed` and `allowed` of what is beyond tolerance.
        decision: empty while it is pending; then `accepted` or `rejected`.
    """

    key: str
    kind: str
    says: str = ""
    expected_key: str | None = None
    actual_key: str | None = None
    partner: str | None = None
    module: str = ""
    tolerance: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    violations: tuple[Mapping[str, Any], ...] = ()
    decision: str = ""

    @property
    def pending(self) -> bool:
        """Whether it differs and nobody has decided yet."""
        return self.kind not in AGREEING and not self.decision


@dataclass(frozen=True)
class Record:
    """One failed comparison.

    Attributes:
        id: tells this result from any other, also from one of the same comparison.
        test: the id of its test.
        name: what `feature_snapshot(name)` called it; usually empty.
        kind: `table` or `picture`.
        status: `changed`; `new` without a baseline, `unreadable` with a broken one.
        baseline: the path of its baseline from the root directory, with forward slashes.
        first: the key of the first feature map that differs; None where nothing was compared.
        why: the reason for that, in words; empty where it is not known.
        headline: the difference in a few lines.
        story: all of it.
        levels: what a pixel may move.
        update: what accepting writes.
        expected: the baseline it was compared with; None where there was none.
        actual: the picture now, drawn over the baseline's ranges of values; None for a table.
        difference: the two and their difference side by side; None where there are not two.
        environment: name, value in the baseline and value in the run of what is not the same.
        maps: in order of completion.
        revision: the revision that it was compared with; empty for a baseline. There is nothing
            to accept then.
    """

    id: str
    test: str
    name: str
    kind: str
    status: str
    baseline: str
    first: str | None
    why: str
    headline: tuple[str, ...]
    story: tuple[str, ...]
    levels: int
    update: File
    expected: File | None
    actual: File | None
    difference: File | None
    environment: tuple[tuple[str, Any, Any], ...]
    maps: tuple[Map, ...]
    revision: str = ""

    @property
    def pending(self) -> tuple[Map, ...]:
        """The feature maps that nobody has decided on yet."""
        return tuple(one for one in self.maps if one.pending)


def digest(data: bytes, kind: str) -> str:
    """Return the digest of a baseline; a table's is blind to how a checkout ends its lines."""
    if kind == "table":
        data = data.replace(b"\r\n", b"\n")
    return hashlib.sha256(data).hexdigest()


def identity(baseline: str, update: str) -> str:
    """Return the id of a result: of this baseline, with this update's digest."""
    text = f"{baseline}\n{update}".encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=5).hexdigest()


def dump(record: Record) -> bytes:
    """Return a record as JSON."""
    fields = {"featuremaps_result": _FORMAT, **asdict(record)}
    return json.dumps(fields, indent=1, allow_nan=False).encode("ascii") + b"\n"


def load(data: bytes) -> Record:
    """Read what `dump` wrote; fields that this version does not know are ignored.

    Raises:
        BadRecord: these bytes are no record, whatever they are.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise BadRecord("it is not JSON; it may have been cut off") from None
    version = fields.get("featuremaps_result") if isinstance(fields, dict) else None
    if version != _FORMAT:
        raise BadRecord(f"it has format {version!r:.20}, this version reads format {_FORMAT}")
    try:
        return _record(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecord(f"it is not as it was written: {error}") from None


def _record(fields: dict[str, Any]) -> Record:
    return Record(
        id=_text(fields["id"]),
        test=_text(fields["test"]),
        name=_text(fields["name"]),
        kind=_one_of(_KINDS, fields["kind"]),
        status=_one_of(_STATUSES, fields["status"]),
        baseline=_text(fields["baseline"]),
        first=_known(_text, fields["first"]),
        why=_text(fields["why"]),
        headline=_several(_text, fields["headline"]),
        story=_several(_text, fields["story"]),
        levels=_whole(fields["levels"]),
        update=_file(fields["update"]),
        expected=_known(_file, fields["expected"]),
        actual=_known(_file, fields["actual"]),
        difference=_known(_file, fields["difference"]),
        environment=_several(_change, fields["environment"]),
        maps=_several(_map, fields["maps"]),
        revision=_text(fields["revision"]),
    )


def _map(fields: dict[str, Any]) -> Map:
    return Map(
        key=_text(fields["key"]),
        kind=_text(fields["kind"]),
        says=_text(fields["says"]),
        expected_key=_known(_text, fields["expected_key"]),
        actual_key=_known(_text, fields["actual_key"]),
        partner=_known(_text, fields["partner"]),
        module=_text(fields["module"]),
        tolerance=_text(fields["tolerance"]),
        before=dict(fields["before"]),
        after=dict(fields["after"]),
        violations=_several(dict, fields["violations"]),
        decision=_one_of(_DECISIONS, fields["decision"]),
    )


def _file(fields: dict[str, Any]) -> File:
    name = _text(fields["file"])
    if not _BESIDE.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a file beside it")
    return File(name, _text(fields["sha256"]))


def _change(value: list[Any]) -> tuple[str, Any, Any]:
    name, before, here = value
    return _text(name), before, here


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{value!r:.40} is not a text")


def _whole(value: object) -> int:
    if isinstance(value, int):
        return value
    raise TypeError(f"{value!r:.40} is not a whole number")


def _one_of(choices: tuple[str, ...], value: object) -> str:
    if value in choices:
        return str(value)
    raise ValueError(f"{value!r:.40} is none of {', '.join(filter(None, choices))}")


def _known(read: Callable[[Any], T], value: object) -> T | None:
    return None if value is None else read(value)


def _several(read: Callable[[Any], T], value: object) -> tuple[T, ...]:
    if isinstance(value, list):
        return tuple(read(one) for one in value)
    raise TypeError(f"{value!r:.40} is not a list")
