"""What comparisons are made with: any store, and the store of committed baselines."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from syrupy.assertion import SnapshotAssertion
from syrupy.location import PyTestLocation

from pytest_featuremaps.snapshots.extensions import Extension, as_bytes
from pytest_featuremaps.snapshots.failures import Failure
from pytest_featuremaps.snapshots.options import ComparisonOptions, RunOptions


class Store(Protocol):
    """What a test's feature maps are compared with."""

    @property
    def location(self) -> PyTestLocation:
        """The test."""

    def records(self, path: str) -> bool:
        """Tell whether a comparison would write a baseline into this file."""

    def compare(
        self, kind: type[Extension], data: object, suffix: str, options: ComparisonOptions
    ) -> Failure | None:
        """Compare, and return why that failed; None where it did not.

        Args:
            kind: what the baseline is kept as.
            data: what the test has.
            suffix: tells the comparison from others of the test.
            options: how it is made.
        """


class BaselineStore:
    """The baselines that syrupy keeps in `__snapshots__`."""

    def __init__(
        self, snapshot: SnapshotAssertion, run: RunOptions, note_gaps: Callable[[str], None]
    ) -> None:
        """Keep what comparisons are made with.

        Args:
            snapshot: syrupy's fixture.
            run: what all comparisons of the test are made with.
            note_gaps: is told what a comparison that passes did not compare.
        """
        self._snapshot = snapshot
        self._run = run
        self._note_gaps = note_gaps

    @property
    def location(self) -> PyTestLocation:
        """The test."""
        return self._snapshot.test_location

    def records(self, path: str) -> bool:
        """Tell whether a comparison would write a baseline into this file."""
        snapshot = self._snapshot
        if snapshot.update_snapshots:
            return True
        return bool(snapshot.update_new_snapshots_only and not Path(path).exists())

    def compare(
        self, kind: type[Extension], data: object, suffix: str, options: ComparisonOptions
    ) -> Failure | None:
        """Compare with a baseline, or update it, as syrupy is told to."""
        snapshot = self._snapshot.use_extension(kind)
        extension: Any = snapshot.extension
        extension.options = options
        extension.accept = self._run.accept
        extension.updates = self._run.updates
        with warnings.catch_warnings():
            # syrupy before 7.0 compares with the name as it was before it was encoded.
            warnings.filterwarnings("ignore", message=r"\s*Can not relate snapshot location")
            equal = snapshot(name=suffix or None) == data
            if not extension.write_immediately:
                # syrupy before 6.0 would write at the end of the run, where nobody is told of
                # an error any more.
                _write_now(snapshot.session)
        result = snapshot.executions[len(snapshot.executions) - 1]
        if result.exception is not None:
            raise result.exception
        if equal:
            if extension.gaps:
                self._note_gaps(f"{extension.title}, {extension.gaps}")
            return None
        failure: Failure = extension.failure
        return replace(failure, expected=extension.stored, actual=as_bytes(result.asserted_data))


def _write_now(session: Any) -> None:  # noqa: ANN401 - syrupy's, of any version
    """Write what waits; what cannot be written does not wait on: it would be at the end."""
    try:
        session.flush_snapshot_write_queue()
    finally:
        session._queued_snapshot_writes.clear()
