"""A folder of recorded comparisons: what was compared at a revision, and what became of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_featuremaps import disk

_RECORD = "recording.json"
_BYTES = ".bytes"


@dataclass(frozen=True)
class RecordedRun:
    """What a run at a revision left.

    Attributes:
        seconds: how long it took.
        comparisons: what it recorded: pairs of a test's id and the name of a comparison.
        reasons: why a test, or all below a folder or a file, did not pass there; by node id.
        sources: the files of the modules that it loaded from the tree, by module; relative to
            its top.
        stamps: the stamp of every other file that it loaded, by path.
        changed_tests: helpers of tests that it loaded, and that are not as at the revision.
    """

    seconds: float
    comparisons: Sequence[Sequence[str]]
    reasons: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, Sequence[int]] = field(default_factory=dict)
    changed_tests: Sequence[str] = ()


@dataclass(frozen=True)
class References:
    """A folder of recorded comparisons.

    Attributes:
        folder: where they are.
    """

    folder: Path

    def put(self, test: str, name: str, data: bytes) -> None:
        """Keep the bytes of a test's comparison."""
        head = json.dumps([test, name]).encode()
        disk.replace(self._place(test, name), head + b"\n" + data)

    def get(self, test: str, name: str) -> bytes | None:
        """Return the bytes of a test's comparison; None where it was not made."""
        path = self._place(test, name)
        return path.read_bytes().partition(b"\n")[2] if path.exists() else None

    def comparisons(self) -> list[tuple[str, str]]:
        """Return the test and the name of every comparison that is kept, in order."""
        heads = (path.read_bytes().partition(b"\n")[0] for path in self.folder.glob(f"*{_BYTES}"))
        return sorted((test, name) for test, name in map(json.loads, heads))

    def tests(self) -> set[str]:
        """Return the tests of which a comparison is kept."""
        return {test for test, _ in self.comparisons()}

    def finish(self, run: RecordedRun) -> None:
        """Keep what became of the run; a folder without it is not complete."""
        text = json.dumps(asdict(run), indent=1)
        (self.folder / _RECORD).write_text(text, encoding="utf-8")

    def recorded_run(self) -> RecordedRun | None:
        """Return what became of the run; None where it is not known."""
        try:
            facts: dict[str, Any] = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
            return RecordedRun(**facts)
        except (OSError, ValueError, TypeError):
            return None

    def _place(self, test: str, name: str) -> Path:
        code = f"{test}\0{name}".encode("utf-8", "surrogatepass")
        return self.folder / f"{hashlib.blake2b(code, digest_size=16).hexdigest()}{_BYTES}"


def stamp(path: Path) -> list[int]:
    """Return size and time of change of a file, which tell when it is another; empty without it."""
    try:
        facts = path.stat()
    except OSError:
        return []
    return [facts.st_size, facts.st_mtime_ns]
