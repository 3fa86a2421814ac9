"""The run at another revision: what it records, and where its modules came from."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_featuremaps.against.instructions import Instructions
from pytest_featuremaps.against.provenance import loaded, strays
from pytest_featuremaps.against.references import References, stamp
from pytest_featuremaps.runs.collected import has_baseline, keep_only

if TYPE_CHECKING:
    from pytest_featuremaps.against.stores import RecordingStore


class AtRevision:
    """A plugin of the run at another revision: it has comparisons recorded, and tells what it saw.

    Every process of the run, a worker as well, tells what it loaded.
    """

    def __init__(self, instructions: Instructions) -> None:
        self._instructions = instructions
        self._reasons: dict[str, str] = {}
        self.references = References(Path(instructions.folder))

    def store(self, item: pytest.Item) -> RecordingStore:
        """Return what keeps the comparisons of a test."""
        from pytest_featuremaps.against.stores import RecordingStore, location_of

        return RecordingStore(self.references, location_of(item))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Run only what makes comparisons, and the named tests where some are named."""
        only = self._instructions.only
        keep_only(
            config,
            items,
            lambda item: has_baseline(item) and (only is None or item.nodeid in only),
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep why a file could not be collected."""
        if not report.passed:
            self._reasons[report.nodeid] = _reason(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep why a test did not pass, the first reason of several."""
        if not report.passed:
            self._reasons.setdefault(report.nodeid, _reason(report))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Tell what this process saw and loaded."""
        border = self._instructions.border
        tree = border.tree
        inside, outside = {}, {}
        for name, file in loaded():
            if file.is_relative_to(tree):
                inside[name] = file.relative_to(tree).as_posix()
            elif file.exists():
                outside[str(file)] = stamp(file)
        seen = {
            "reasons": {} if hasattr(session.config, "workerinput") else self._reasons,
            "strays": [asdict(one) for one in strays(border, self._instructions.code)],
            "sources": inside,
            "stamps": outside,
        }
        path = self.references.folder / f"seen-{os.getpid()}.json"
        path.write_text(json.dumps(seen), encoding="utf-8")


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    """The one line of a report that says why."""
    told = report.longrepr
    if isinstance(told, tuple):
        return str(told[2])
    crash = getattr(told, "reprcrash", None)
    lines = [line for line in str(crash.message if crash else told).splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E  ")]
    return errors[-1] if errors else lines[0] if lines else report.outcome
