"""The second run of an update, by which it measures noise, and the tables that run leaves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NoiseRun:
    """A run of the same tests under other conditions, by which an update measures its noise.

    Attributes:
        folder: where that run leaves its tables.
        is_this: whether this process is of that run: it compares with nothing, and records no
            baseline.
    """

    folder: Path
    is_this: bool

    def put(self, comparison: str, table: bytes) -> None:
        """Leave the table of a comparison, whatever the characters of its name."""
        self._place(comparison).write_bytes(table)

    def get(self, comparison: str) -> bytes | None:
        """Return the table that was left of a comparison; None if there is none."""
        path = self._place(comparison)
        return path.read_bytes() if path.exists() else None

    def count(self) -> int:
        """Return how many tables were left."""
        return len(list(self.folder.glob("*.left")))

    def _place(self, comparison: str) -> Path:
        code = comparison.encode("utf-8", "surrogatepass")
        return self.folder / f"{hashlib.blake2b(code, digest_size=16).hexdigest()}.left"
