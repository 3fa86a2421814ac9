"""What a test's report says of feature maps: numbers of each, and what is wrong where it failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pytest

from pytest_featuremaps.wording import FAILED_SECTION, plain

if TYPE_CHECKING:
    from pytest_featuremaps.recording.recording import Recording
    from pytest_featuremaps.snapshots.verdicts import Verdict

# A report holds the numbers of this many maps: taking and sending them costs time.
_MOST_MAPS: Final = 50
_SAY_NOTHING: Final = ("assert False", "assert not True", "AssertionError")


def write_properties(item: pytest.Item, recording: Recording, *, measure: bool) -> None:
    """Make each map a property of the report; those of an earlier run of the test go."""
    from pytest_featuremaps.maps.summaries import PROPERTY, properties

    kept = [one for one in item.user_properties if not one[0].startswith(PROPERTY)]
    item.user_properties[:] = [
        *kept,
        *properties(recording, most=_MOST_MAPS, measure=measure),
    ]


def tell_maps(report: pytest.TestReport, recording: Recording) -> None:
    """Show what was captured in a test that fails."""
    if report.failed and recording:
        report.sections.append(("feature maps", recording.summary(most=_MOST_MAPS)))


def tell_failures(report: pytest.TestReport, failures: Sequence[Verdict]) -> None:
    """Tell the whole story of each failed comparison, and in short for the end of the run."""
    from pytest_featuremaps.session import recap
    from pytest_featuremaps.session.recapping import attach

    attach(report, failures)
    _name_layer(report, recap.facts(failures)["first"])
    for verdict in failures:
        title = FAILED_SECTION + plain(verdict.title, None)
        report.sections.append((title, "\n".join(verdict.story)))


def _name_layer(report: pytest.TestReport, first: str) -> None:
    """Say in the one line of a failure what differed, where its assert saw a truth value alone."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return
    message, newline, rest = crash.message.partition("\n")
    if message in _SAY_NOTHING:
        crash.message = f"{message}: {plain(first)}{newline}{rest}"


def tell_comparisons(report: pytest.TestReport) -> None:
    """Tell the whole story of what `compare()` found in a test that fails; then forget it."""
    live = sys.modules.get("pytest_featuremaps.maps.two_models")
    if live is None:  # nobody compares
        return
    if report.failed:
        sections = [("feature maps compared", str(comparison)) for comparison in live.FOUND]
        report.sections.extend(sections)
    if report.failed or report.when == "teardown":
        live.FOUND.clear()
