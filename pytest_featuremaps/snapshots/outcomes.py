"""What the comparisons of one test came to, and which files of baselines they use."""

from __future__ import annotations

import unicodedata
from collections.abc import MutableMapping
from pathlib import Path

from pytest_featuremaps.errors import BaselineError
from pytest_featuremaps.snapshots.failures import Failure


class ClaimedFiles:
    """Which baseline files the comparisons of one test use, so that no two share one."""

    def __init__(self, files: MutableMapping[str, tuple[str, str]], test: str) -> None:
        """Begin with none; what the test claimed in an earlier run of it is forgotten.

        Args:
            files: all files in use, by a name without case, with the file and its test;
                shared by the tests of a session.
            test: the test's id.
        """
        self._files = files
        self._test = test
        self._before_body: set[str] | None = None
        self._keep(set())

    def claim(self, path: str) -> None:
        """Note that a comparison uses a file.

        Raises:
            BaselineError: another comparison uses it already, or one whose name differs in
                case only, which is the same file on some disks.
        """
        name = unicodedata.normalize("NFC", path).casefold()
        if name in self._files:
            known, test = self._files[name]
            other = "an earlier comparison" if test == self._test else test
            raise BaselineError(
                f"{Path(path).name} is also the baseline of {other} ({Path(known).name}).\n"
                'Give this comparison a name of its own: feature_snapshot(name="...").'
            )
        self._files[name] = path, self._test

    def begin_body(self) -> None:
        """Let every run of the test's body start from what was claimed before the first."""
        if self._before_body is None:
            self._before_body = self._own()
        self._keep(self._before_body)

    def _keep(self, kept: set[str]) -> None:
        for name in self._own() - kept:
            del self._files[name]

    def _own(self) -> set[str]:
        return {name for name, (_, test) in self._files.items() if test == self._test}


class Outcomes:
    """What the comparisons of one test came to.

    Attributes:
        claims: the files that they use.
        failures: those that differed, in order.
        agreements: the files of those that agreed.
    """

    def __init__(self, claims: ClaimedFiles) -> None:
        self.claims = claims
        self.failures: list[Failure] = []
        self.agreements: list[str] = []
        self._before_body: int | None = None

    def begin_body(self) -> None:
        """Let every run of the test's body start from what was compared before the first."""
        self.claims.begin_body()
        if self._before_body is None:
            self._before_body = len(self.failures)
        del self.failures[self._before_body :]
