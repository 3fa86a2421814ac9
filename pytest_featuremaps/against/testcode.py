"""Which files of a repository are tests, and which are the code under test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

_FOLDER = re.compile(r"tests?|tests?_.*|.*_tests?")


@dataclass(frozen=True)
class Rule:
    """What counts as test code.

    Test code is every `conftest.py`, every file that pytest would collect by its name, and all
    that lies in a folder called `test` or `tests`, `test_...` or `..._tests`. A file that is
    both tests and the code under test cannot be told apart; it counts as tests.

    Attributes:
        collected: the patterns of pytest's ini option `python_files`.
        others: patterns of further test files, matched with the path from the root directory.
        root: pytest's root directory, relative to the top of the repository.
    """

    collected: Sequence[str]
    others: Sequence[str]
    root: PurePosixPath

    def holds(self, name: str) -> bool:
        """Tell whether a file is test code; its path is relative to the repository's top."""
        path = PurePosixPath(name)
        if self.collects(name) or any(map(_FOLDER.fullmatch, path.parts[:-1])):
            return True
        if not path.is_relative_to(self.root):
            return False
        inside = path.relative_to(self.root).as_posix()
        return any(fnmatch(inside, pattern) for pattern in self.others)

    def collects(self, name: str) -> bool:
        """Tell whether pytest looks for tests or fixtures in a file, by its name."""
        path = PurePosixPath(name)
        if path.name == "conftest.py":
            return True
        return path.suffix == ".py" and any(_matches(path, one) for one in self.collected)


def _matches(path: PurePosixPath, pattern: str) -> bool:
    """Match as pytest does: a pattern without a slash is one for names."""
    return fnmatch(str(path), f"*{pattern}") if "/" in pattern else fnmatch(path.name, pattern)
