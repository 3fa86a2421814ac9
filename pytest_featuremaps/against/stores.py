"""Stores of a run against a revision: one records comparisons, one compares with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from syrupy.location import PyTestLocation

from pytest_featuremaps.against.provenance import foreign
from pytest_featuremaps.against.references import RecordedRun, References
from pytest_featuremaps.errors import BaselineError
from pytest_featuremaps.snapshots.extensions import Extension, as_bytes
from pytest_featuremaps.snapshots.failures import Failure
from pytest_featuremaps.snapshots.options import ComparisonOptions


class _WithoutBaselines:
    """A store that has nothing to do with the files of `__snapshots__`."""

    def records(self, path: str) -> bool:
        """Tell whether a comparison would write a baseline: never."""
        del path
        return False


@dataclass(frozen=True)
class RecordingStore(_WithoutBaselines):
    """Keeps what each comparison of a test is about, and finds no difference.

    Attributes:
        references: where to keep them.
        location: the test.
    """

    references: References
    location: PyTestLocation

    def compare(
        self, kind: type[Extension], data: object, suffix: str, options: ComparisonOptions
    ) -> Failure | None:
        """Keep what a baseline would hold."""
        extension = kind()
        extension.options = options
        name = _name(kind, self.location, suffix)
        self.references.put(self.location.nodeid, name, as_bytes(extension.serialize(data)))
        return None


@dataclass(frozen=True)
class ReferenceStore(_WithoutBaselines):
    """Compares a test with what was recorded of it at another revision.

    Attributes:
        references: what was recorded.
        recording: what became of the run that recorded it.
        location: the test.
        revision: what it was recorded at, in words.
        checkout: the top of the checkout, where the code of this run has to come from.
        miss: is told why there is no reference.
    """

    references: References
    recording: RecordedRun
    location: PyTestLocation
    revision: str
    checkout: Path
    miss: Callable[[str], None]

    def compare(
        self, kind: type[Extension], data: object, suffix: str, options: ComparisonOptions
    ) -> Failure | None:
        """Compare with what was recorded; without a reference there is nothing to say.

        Raises:
            BaselineError: the code that runs here is not the checkout's, or another process
                took the reference away.
        """
        self._check_origin()
        name = _name(kind, self.location, suffix)
        test = self.location.nodeid
        stored = self.references.get(test, name)
        if stored is None and [test, name] in self.recording.comparisons:
            raise BaselineError(f"The reference of {name} is gone: run the test again.")
        extension = kind()
        extension.options = options
        extension.against = "reference"
        extension.title = f"{name} at {self.revision}"
        extension.stored = stored
        actual = as_bytes(extension.serialize(data))
        if stored is None:
            # Only now: what cannot be compared at all is an error here as well.
            self.miss(self._why())
            return None
        if extension.failure is None:
            return None
        return replace(extension.failure, expected=stored, actual=actual, revision=self.revision)

    def _check_origin(self) -> None:
        stray = foreign(self.checkout, self.recording.sources)
        if stray:
            raise BaselineError(
                f"{stray.module} was loaded from {stray.file}, which is not what the checkout "
                f"has in {stray.belongs}: a change there would not be seen.\n"
                "Install the project as it is now, best as an editable install (pip install -e)."
            )

    def _why(self) -> str:
        """Why there is no reference: what became of the test, or of what holds it, there."""
        reasons = sorted(self.recording.reasons.items(), key=lambda pair: -len(pair[0]))
        for test, reason in reasons:
            here = self.location.nodeid
            if here == test or here.startswith((f"{test}::", f"{test}/")):
                return reason
        return "the test does not make this comparison there"


def location_of(item: pytest.Item) -> PyTestLocation:
    """Return what names the comparisons of a test, with and without syrupy's plugin."""
    return PyTestLocation(item)


def _name(kind: type[Extension], location: PyTestLocation, suffix: str) -> str:
    return Path(kind.get_location(test_location=location, index=suffix)).name
