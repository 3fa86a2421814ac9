"""When a run leaves results for review, when it removes them, and where their page goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pytest_featuremaps.runs.collected import has_baseline
from pytest_featuremaps.runs.invocation import AGAINST

if TYPE_CHECKING:
    from pytest_featuremaps.snapshots.failures import Failure

_OUTPUT: Final = "featuremaps_output"
_REPORT: Final = "featuremaps_report"


def add_options(group: pytest.OptionGroup) -> None:
    """Add the options that say where results and their page go."""
    group.addoption(
        "--featuremaps-output",
        dest=_OUTPUT,
        metavar="DIR",
        help="Where failed comparisons leave pictures and numbers to review; "
        ".featuremaps at the root directory by default.",
    )
    group.addoption(
        "--featuremaps-report",
        dest=_REPORT,
        metavar="FILE.html",
        help="Write what waits for review as one page, which needs no network.",
    )


def check_options(config: pytest.Config) -> None:
    """Refuse a folder of results where they would pass for baselines.

    Raises:
        pytest.UsageError: it is inside the folder of baselines.
    """
    snapshots = config.getoption("snapshot_dirname", default="__snapshots__")
    asked = config.getoption(_OUTPUT)
    if asked and snapshots in output_of(config).parts:
        raise pytest.UsageError(
            f"--featuremaps-output={asked} is inside {snapshots}, which holds baselines: choose a "
            "folder elsewhere"
        )


def leave(
    item: pytest.Item,
    report: pytest.TestReport,
    failures: Sequence[Failure],
    agreements: Sequence[str],
) -> None:
    """Keep a test's failed comparisons for review, and say in its report where they are.

    What earlier runs left is removed as soon as the comparison, or the whole test, passes.
    """
    from pytest_featuremaps.snapshots import results

    place = output_of(item.config), item.config.rootpath, item.nodeid
    passed = report.when == "call" and (report.passed or hasattr(report, "wasxfail"))
    results.settle(*place, agreements, passed=passed)
    if report.failed and failures:
        left = results.keep(*place, failures)
        report.sections.append(("feature maps to review", "\n".join(left)))


def sweep(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Remove the results of tests that exist no more, where whole files were collected."""
    output = output_of(config)
    in_part = config.option.collectonly or any("::" in argument for argument in config.args)
    if output.is_dir() and not in_part:
        from pytest_featuremaps.review import folder

        files = {item.nodeid.partition("::")[0] for item in items}
        tests = {item.nodeid for item in items if has_baseline(item)}
        folder.sweep(output, config.rootpath, files, tests)


def write_page(config: pytest.Config) -> None:
    """Write the page of what waits for review, once all workers are done."""
    path = _page(config)
    if path is not None and not hasattr(config, "workerinput"):
        from pytest_featuremaps import disk
        from pytest_featuremaps.review import folder, page

        path.parent.mkdir(parents=True, exist_ok=True)
        disk.replace(path, page.render(folder.read(output_of(config)), _unused(config)))


def tell_page(reporter: pytest.TerminalReporter) -> None:
    """Say where the page is."""
    path = _page(reporter.config)
    if path is not None:
        reporter.write_line(f"feature maps to review: {path}")


def output_of(config: pytest.Config) -> Path:
    """Return the folder for what runs leave; comparisons with a revision have one inside it."""
    asked = config.getoption(_OUTPUT)
    whole = config.invocation_params.dir / asked if asked else config.rootpath / ".featuremaps"
    return whole if config.getoption(AGAINST) is None else whole / "against"


def _page(config: pytest.Config) -> Path | None:
    asked = config.getoption(_REPORT)
    return config.invocation_params.dir / asked if asked else None


def _unused(config: pytest.Config) -> list[str]:
    """Return the baselines of ours that no test asks for.

    Those that syrupy counts include what a test would have asked for had it not failed before.
    """
    report = getattr(getattr(config, "_syrupy", None), "report", None)
    locations = [Path(one.location) for one in getattr(report, "unused", ())]
    ours = [path for path in locations if path.suffix in {".jsonl", ".png"}]
    if not ours:
        return []
    from pytest_featuremaps.filenames import NAME_LIMIT, may_begin_with

    unfinished = _unfinished(config)
    unused = (
        path
        for path in ours
        if not any(
            path.parent.name == module and may_begin_with(path.stem, name, limit=NAME_LIMIT)
            for module, name in unfinished
        )
    )
    return sorted(os.path.relpath(path, config.rootpath) for path in unused)


def _unfinished(config: pytest.Config) -> set[tuple[str, str]]:
    """Return the module and the name of each test that did not come to its end."""
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    reports = [
        one
        for kind in ("failed", "error", "skipped", "xfailed", "rerun")
        for one in (reporter.stats.get(kind, []) if reporter else [])
    ]
    ids = (one.nodeid.split("::") for one in reports if isinstance(one, pytest.TestReport))
    return {(Path(file).stem, ".".join(names)) for file, *names in ids}
