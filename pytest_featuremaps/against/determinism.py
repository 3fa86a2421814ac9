"""Whether a difference is chance: what the same code gives when it is recorded a second time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from pytest_featuremaps import rendering
from pytest_featuremaps.against import running
from pytest_featuremaps.against.planning import Plan
from pytest_featuremaps.against.references import References
from pytest_featuremaps.against.refusals import AgainstError
from pytest_featuremaps.against.revision import GitError
from pytest_featuremaps.baseline import comparing, table_files, tables
from pytest_featuremaps.baseline.judging import Entry
from pytest_featuremaps.wording import counted

_MOST: Final = 20  # tests that are recorded a second time


def record_again(
    plan: Plan, first: References, failed: Sequence[str], say: Callable[[str], None]
) -> list[str]:
    """Record failed tests once more at the revision, and return lines on what that showed.

    Args:
        plan: the run at the revision.
        first: what it recorded the first time.
        failed: the ids of the tests whose comparisons failed.
        say: writes a line to the terminal.
    """
    tests = failed[:_MOST]
    of_all = f" of {len(failed)}" if len(failed) > _MOST else ""
    number = f"{len(tests)}{of_all} failed test{'s' * (len(failed) != 1)}"
    second = References(first.folder / "again")
    second.folder.mkdir(exist_ok=True)
    known = second.tests()
    missing = [test for test in tests if test not in known]
    cost = f"recorded twice at {plan.revision}"
    if missing:
        say(f"recording {number} at {plan.revision} once more ...")
        try:
            seconds = running.run(plan, second.folder, only=missing).seconds
        except (AgainstError, GitError, KeyboardInterrupt) as error:
            why = str(error) or "it was interrupted"
            return [f"{number} could not be recorded a second time: {why}"]
        cost += f", in {seconds:.1f} s more"
    lost = set(tests) - second.tests()
    if lost:
        return [f"{min(lost)} compared nothing when it was recorded a second time"]
    found = _nondeterministic(first, second, tests)
    if not found:
        return [f"{number}, {cost}: the same bits, so the difference is this code's"]
    return [
        f"{number}, {cost}: not the same bits, so the difference may be chance:",
        *(f"  {test}: {what}" for test, what in found.items()),
        "seed what a test draws, call model.eval(), or give the comparison a tolerance",
    ]


def _nondeterministic(
    first: References, second: References, tests: Collection[str]
) -> dict[str, str]:
    """Return what differs first between two recordings of the same code, by test.

    Args:
        first: one recording.
        second: the other one.
        tests: the ids of the tests to look at.
    """
    found: dict[str, str] = {}
    for test, name in second.comparisons():
        before, after = first.get(test, name), second.get(test, name)
        if test not in tests or test in found or before is None or after is None:
            continue
        comparison = comparing.compare(_table(name, before), _table(name, after), "exact")
        if comparison.first:
            found[test] = _describe(comparison, comparison.first)
    return found


def _table(name: str, data: bytes) -> tables.Table:
    return table_files.load(rendering.decode(data)[1].encode() if name.endswith(".png") else data)


def _describe(comparison: comparing.Comparison, first: Entry) -> str:
    others = sum(1 for entry in comparison.entries if not entry.agrees) - 1
    more = f", and {counted(others, 'more map')}" if others else ""
    moves = [one.observed for one in first.violations if one.quantity == "relative_l2"]
    moved = f" moved by {moves[0]:.1e} of its RMS" if moves else f" {first.kind}"
    return f"{first.key}{moved}{more}"
