"""The file of a table: JSON Lines, written the same everywhere, and read whatever its bytes are."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, TypeGuard, TypeVar

from pytest_featuremaps.baseline.tables import BUCKETS, COUNTS, STATISTICS, Line, Table, Value
from pytest_featuremaps.errors import FeatureMapsError

T = TypeVar("T")

_FORMAT: Final = 1
_SHOWN: Final = 24  # digits of a number in a message
_LARGEST: Final = 2**63 - 1
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_CONFLICT: Final = re.compile(rb"^(?:<{7}|\|{7}|={7}|>{7})", re.MULTILINE)
_JSON_TYPES: Final[Mapping[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a truth value",
}


class BadBaseline(FeatureMapsError, ValueError):
    """Bytes that are not a table of feature maps; the text is one sentence that says why."""


def dump(table: Table) -> bytes:
    """Return the bytes of a table: JSON Lines, a header and then one line per feature map.

    The same table gives the same bytes everywhere. NaN is written as null.
    """
    return b"".join(
        piece + b"\n" for piece in (header(table), *(record(line) for line in table.lines))
    )


def load(data: bytes) -> Table:
    """Read what `dump` wrote; fields that this version does not know are ignored.

    Raises:
        BadBaseline: these bytes are no table; nothing else is raised, whatever they are.
    """
    return read_pieces(data)[1]


def header(table: Table) -> bytes:
    """Return the first line of a table's file."""
    environment = dict(sorted(table.environment.items()))
    return _encode({"featuremaps": _FORMAT, "environment": environment})


def record(line: Line) -> bytes:
    """Return the line of one feature map in a table's file."""
    fields = {
        "key": line.key,
        "module": line.module_type,
        "shape": line.shape,
        "dtype": line.dtype,
        "device": line.device,
        "stats": {
            name: line.stats[name] if math.isfinite(line.stats[name]) else None
            for name in STATISTICS
            if name in line.stats
        },
        "sketch": line.sketch,
        "nonfinite": line.nonfinite,
        "digest": line.digest,
        "weights": line.weights,
        "inputs": line.inputs,
        "noise": line.noise,
    }
    return _encode({name: value for name, value in fields.items() if value is not None})


def _encode(fields: Mapping[str, object]) -> bytes:
    # ASCII, for a key may hold what UTF-8 cannot: half a surrogate pair.
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii")


def read_pieces(data: bytes) -> tuple[list[bytes], Table]:
    """Return the pieces of a file as they are, and the table they mean."""
    _check_text(data)
    numbered = [
        (number, piece) for number, piece in enumerate(data.split(b"\n"), start=1) if piece.strip()
    ]
    records = [_Record(number, piece) for number, piece in numbered]
    environment = _read_header(records[0])
    lines: dict[str, Line] = {}
    for record in records[1:]:
        line = _read_line(record)
        if line.key in lines:
            raise BadBaseline(
                f"line {record.number} of the baseline repeats the `key` of an earlier line"
            )
        lines[line.key] = line
    return [piece for _, piece in numbered], Table(environment, tuple(lines.values()))


def _check_text(data: bytes) -> None:
    if not data.strip():
        raise BadBaseline("the baseline is empty")
    if data.startswith(_LFS_POINTER):
        raise BadBaseline(
            "the baseline is a Git LFS pointer, not the file it stands for: run `git lfs pull`"
        )
    conflict = _CONFLICT.search(data)
    if conflict:
        number = data.count(b"\n", 0, conflict.start()) + 1
        raise BadBaseline(
            f"the baseline has merge-conflict markers, the first in line {number}: "
            "resolve the merge, or take one side and update"
        )
    if data.startswith(codecs.BOM_UTF8):
        raise BadBaseline("the baseline begins with a byte order mark: save it without one")
    if b"\r" in data and b"\n" not in data:
        raise BadBaseline("the lines of the baseline end in CR alone: save it with LF line ends")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadBaseline(f"the baseline is not UTF-8 text, at byte {error.start}") from None


class _NoNumber(ValueError):
    """NaN or Infinity, which Python's decoder takes for JSON."""


class _Record:
    """One line of the file as a JSON object, whose fields are taken one by one."""

    def __init__(self, number: int, piece: bytes) -> None:
        self.number = number
        try:
            fields = _DECODER.decode(piece.decode("utf-8"))
        except _NoNumber as error:
            raise BadBaseline(
                f"line {number} of the baseline holds {error}, which JSON does not know"
            ) from None
        except (ValueError, RecursionError):
            raise BadBaseline(
                f"line {number} of the baseline is not JSON; the file may have been cut off"
            ) from None
        if not isinstance(fields, dict):
            raise BadBaseline(
                f"line {number} of the baseline must be an object, found {_type_name(fields)}"
            )
        self._fields: dict[str, object] = fields

    def take(self, name: str, read: Callable[[object], T]) -> T:
        """The field of this name; `read` raises a TypeError that says what it must be."""
        if name not in self._fields:
            raise BadBaseline(f"line {self.number} of the baseline has no `{name}`")
        value = self._fields[name]
        try:
            return read(value)
        except TypeError as must_be:
            raise BadBaseline(
                f"`{name}` in line {self.number} of the baseline must be {must_be}, "
                f"found {_type_name(value)}"
            ) from None

    def take_known(self, name: str, read: Callable[[object], T]) -> T | None:
        """The field of this name, or None where it is not known."""
        return None if self._fields.get(name) is None else self.take(name, read)


def _refuse(constant: str) -> NoReturn:
    raise _NoNumber(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _read_header(record: _Record) -> dict[str, Value]:
    version = record.take("featuremaps", _version)
    if version > _FORMAT:
        raise BadBaseline(
            f"the baseline has format {version}, newer than the format {_FORMAT} that this "
            "version of pytest-featuremaps reads: upgrade pytest-featuremaps"
        )
    return record.take("environment", _environment)


def _read_line(record: _Record) -> Line:
    return Line(
        key=record.take("key", _text),
        module_type=record.take("module", _text),
        shape=record.take("shape", _shape),
        dtype=record.take("dtype", _text),
        device=record.take("device", _text),
        stats=record.take("stats", _statistics),
        sketch=record.take_known("sketch", _sketch),
        nonfinite=record.take_known("nonfinite", _sketch),
        digest=record.take_known("digest", _text),
        weights=record.take_known("weights", _text),
        inputs=record.take_known("inputs", _text),
        noise=record.take_known("noise", _noise),
    )


def _version(value: object) -> int:
    if _is_integer(value, least=1):
        return value
    raise TypeError("a positive integer")


def _environment(value: object) -> dict[str, Value]:
    if isinstance(value, dict) and all(isinstance(v, Value) for v in value.values()):
        return value
    raise TypeError("an object of strings, integers, truth values and null")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError("a string")


def _shape(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and all(_is_integer(size, least=0) for size in value):
        return tuple(value)
    raise TypeError("a list of non-negative integers")


def _sketch(value: object) -> tuple[int, ...]:
    # As `_is_integer` of each, but at once: most of a file is sketches.
    if (
        isinstance(value, list)
        and len(value) == BUCKETS
        and set(map(type, value)) == {int}
        and max(map(abs, value)) <= _LARGEST
    ):
        return tuple(value)
    raise TypeError(f"a list of {BUCKETS} integers")


def _statistics(value: object) -> dict[str, float | int]:
    if not isinstance(value, dict):
        raise TypeError("an object of numbers")
    return {name: _statistic(name, value[name]) for name in STATISTICS if name in value}


def _statistic(name: str, value: object) -> float | int:
    if name in COUNTS:
        if _is_integer(value, least=0):
            return value
        raise TypeError(f"an object whose `{name}` is a non-negative integer")
    if value is None:
        return math.nan
    if _is_number(value):
        return float(value)
    raise TypeError(f"an object whose `{name}` is a number or null")


def _noise(value: object) -> float:
    if _is_number(value) and value >= 0:
        return float(value)
    raise TypeError("a non-negative number")


def _is_integer(value: object, least: int = -_LARGEST) -> TypeGuard[int]:
    # Booleans are integers to Python, and JSON has integers of any length.
    return type(value) is int and least <= value <= _LARGEST


def _is_number(value: object) -> TypeGuard[float]:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _type_name(value: object) -> str:
    name = _JSON_TYPES.get(type(value), "null")
    digits = str(value) if name == "a number" else ""
    return f"the number {digits}" if 0 < len(digits) <= _SHOWN else name
