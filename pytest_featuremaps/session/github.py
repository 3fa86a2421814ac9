"""What GitHub Actions shows of failed baselines: annotations at the tests, and a step summary."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from pytest_featuremaps.session.summary import FailedTest, command, count
from pytest_featuremaps.wording import counted

_ANNOTATIONS: Final = 10  # of one step, which is what GitHub shows
_ROWS: Final = 50  # tests in a step summary, which may hold a megabyte
_CELL: Final = 300  # characters of a cell in it


def is_here(environ: Mapping[str, str]) -> bool:
    """Tell whether this is a job of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


def workflow_commands(
    tests: Sequence[FailedTest], *, root: Path, environ: Mapping[str, str]
) -> Iterator[str]:
    """Yield a workflow command for each test, which GitHub shows at its line.

    Source: "Workflow commands for GitHub Actions", and `toCommandValue` and
    `escapeProperty` of the actions toolkit.
    """
    workspace = environ.get("GITHUB_WORKSPACE") or root
    for one in tests[:_ANNOTATIONS]:
        file = Path(os.path.relpath(root / one.file, workspace)).as_posix()
        place = f"file={_property(file)},line={one.line}"
        yield f"::error {place},title={_property(_title(one))}::{_message(one.first)}"


def _title(one: FailedTest) -> str:
    return f"{counted(one.changed, 'feature map')} changed" if one.changed else "feature baseline"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def step_summary(tests: Sequence[FailedTest], *, last_failed: bool, accepts: bool = True) -> str:
    """Return what the terminal says as a table in Markdown, for the page of the job."""
    accept = f"Accept with: <code>{_cell(command(tests[:_ROWS], last_failed=last_failed))}</code>"
    rows = [f"| {_cell(one.test)} | {one.changed} | {_cell(one.first)} |" for one in tests[:_ROWS]]
    if len(tests) > _ROWS:
        rows.append(f"| ... and {len(tests) - _ROWS} more | | |")
    return "\n".join(
        [
            "### Feature baselines",
            "",
            f"{count(tests)}.",
            "",
            "| test | feature maps changed | first divergent layer |",
            "| --- | ---: | --- |",
            *rows,
            "",
            *([accept, ""] if accepts else []),
            "",
        ]
    )


def _cell(text: str) -> str:
    """Write a text so that Markdown and HTML see nothing in it but text."""
    cut = text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"
    return "".join(
        char
        if char.isalnum() or char in " ,.-"
        else f"&#{ord(char)};"
        if char.isprintable()
        else " "
        for char in cut
    )


def append(path: str, text: str) -> str:
    """Append to the step summary's file; say why that was not possible, empty when it was."""
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"the step summary could not be written: {error}"
    return ""
