"""What a run at another revision is told, through a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_featuremaps.against.provenance import Border, Guard
from pytest_featuremaps.runs.invocation import INSTRUCTIONS


@dataclass(frozen=True)
class Instructions:
    """What a run at another revision is told.

    Attributes:
        checkout: the top of the checkout.
        tree: the top of the revision's files.
        folder: where comparisons are recorded.
        code: the tree's Python files that are code under test.
        only: the tests to run, by node id; all that are selected when None.
    """

    checkout: str
    tree: str
    folder: str
    code: Collection[str]
    only: Collection[str] | None = None

    @property
    def border(self) -> Border:
        """The line between the checkout and the tree."""
        return Border(Path(self.checkout), Path(self.tree))

    def write(self, path: Path) -> None:
        """Keep them in a file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read() -> Instructions:
    """Return the instructions of this run, which is one at another revision."""
    facts: dict[str, Any] = json.loads(Path(os.environ[INSTRUCTIONS]).read_text(encoding="utf-8"))
    return Instructions(**facts)


def install_guard(instructions: Instructions) -> None:
    """Let no module come from the checkout from now on."""
    sys.meta_path.insert(0, Guard(instructions.border))
