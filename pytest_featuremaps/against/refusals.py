"""Why there is nothing to compare with at another revision, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from pytest_featuremaps.against.planning import Plan
from pytest_featuremaps.against.provenance import Stray
from pytest_featuremaps.against.references import RecordedRun
from pytest_featuremaps.runs import rerun

_LINES: Final = 12  # of the output of a run that broke down


class AgainstError(Exception):
    """Why there is nothing to compare with, in a sentence and the way out."""


def check_strays(plan: Plan, strays: Sequence[Stray]) -> None:
    """Stop where a module of the project did not come from the revision.

    Raises:
        AgainstError: one did not.
    """
    if not strays:
        return
    one, others = strays[0], len(strays) - 1
    more = f" (and {others} more)" if others else ""
    if Path(one.file).is_relative_to(plan.repository.top):
        way_out = "Something loads it by that path: let it take a path relative to its own file."
    else:
        way_out = (
            f"That is an installed copy; the repository has it as {one.belongs}. Put the folder "
            "it is imported from on the import path, with the ini option `pythonpath`."
        )
    raise AgainstError(
        f"the reference would not be {plan.revision}: its run loaded {one.module} from "
        f"{one.file}{more}.\n{way_out}"
    )


def judge(plan: Plan, recording: RecordedRun) -> None:
    """Stop where comparing would say nothing, or would say it of the wrong code.

    Raises:
        AgainstError: it would.
    """
    if not recording.comparisons:
        told = [f"  {test}: {why}" for test, why in list(recording.reasons.items())[:_LINES]]
        lines = [f"no selected test made a comparison with feature_snapshot at {plan.revision}."]
        lines += ["There, these did not pass:", *told] if told else []
        raise AgainstError("\n".join(lines))
    if not recording.sources:
        raise AgainstError(
            f"nothing that the tests loaded came from {plan.revision}: it was test code of this "
            "checkout and installed packages only, so that nothing could differ.\n"
            "The code under test has to lie outside of what counts as tests: conftest.py, files "
            "that pytest collects, and folders called test or tests."
        )
    inside = plan.root.relative_to(plan.repository.top)
    for test, _ in recording.comparisons:
        file = (inside / test.partition("::")[0]).as_posix()
        if not plan.rule.holds(file):
            raise AgainstError(
                f"{file} holds tests, but by its name it counts as code under test, so that the "
                f"tests of {plan.revision} would run in place of these.\n"
                "Say that it is test code with the ini option `featuremaps_test_files`."
            )


def break_down(plan: Plan, outcome: rerun.Outcome) -> NoReturn:
    """Stop where the run itself broke down.

    Raises:
        AgainstError: always.
    """
    told = f"the run at {plan.revision} broke down with exit status {outcome.status}. It said last:"
    raise AgainstError("\n  ".join([told, *outcome.output[-_LINES:]]))
