"""What failed baselines come to at the end of a run: for a terminal, and for GitHub Actions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_featuremaps.wording import counted

if TYPE_CHECKING:
    from pytest_featuremaps.snapshots.verdicts import Verdict

_TOLD: Final = 10  # tests told one by one in a terminal, and annotations that GitHub shows
_ROWS: Final = 50  # tests in a step summary, which may hold a megabyte
_CELL: Final = 300  # characters of a cell in it
_COMMAND: Final = 2000  # characters of a command in it, of which a part would be another command


@dataclass(frozen=True)
class Failed:
    """A test that failed a comparison with its baseline.

    Attributes:
        test: its id.
        changed: how many feature maps are beyond tolerance.
        first: what its first divergent layer is, or why there was nothing to compare with.
        file: where it is, relative to the root of the run.
        line: the line there, from 1.
    """

    test: str
    changed: int
    first: str
    file: str = ""
    line: int = 1


def facts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return what of one report's failed comparisons is told at the end, as plain JSON.

    A table and a picture of one map are one changed map. The comparison of the most maps
    knows best which was the first.
    """
    changed = {key: None for verdict in verdicts for key in _changed(verdict)}
    widest = max(verdicts, key=_width)
    first = widest.headline[0]
    if widest.comparison:  # numbers agree, a picture does not, and its line names no layer
        first = f"{widest.title}: {first}"
    return {"changed": list(changed), "first": first, "width": _width(widest)}


def summed_up(test: str, told: Sequence[Mapping[str, Any]], *, file: str, line: int) -> Failed:
    """Sum up what the reports of one test told: that of its body, and those of its subtests."""
    changed = {key for one in told for key in one["changed"]}
    first = max(told, key=lambda one: int(one["width"]))["first"]
    return Failed(test, len(changed), first, file=file, line=line)


def _width(verdict: Verdict) -> int:
    # A comparison that found a difference is false.
    return 0 if verdict.comparison is None else len(verdict.comparison.entries)


def _changed(verdict: Verdict) -> list[str]:
    if verdict.comparison is None:
        return []
    differing = [one.key for one in verdict.comparison.entries if not one.agrees]
    # Of a picture that differs although its numbers agree, the map is the one it shows.
    return differing or [one.key for one in verdict.comparison.entries]


def block(tests: Sequence[Failed], accept: str) -> Iterator[str]:
    """Yield the lines for a terminal.

    Args:
        tests: those that failed, at least one.
        accept: the command that accepts the changes; empty where no baseline could take them.
    """
    yield count(tests)
    yield from (f"  {one.test}: {one.first}" for one in tests[:_TOLD])
    if len(tests) > _TOLD:
        yield f"  ... and {len(tests) - _TOLD} more"
    if accept:
        yield f"next, look at them; accept with: {accept}"


def count(tests: Sequence[Failed]) -> str:
    """Say how many maps changed, in how many tests, and how many had nothing to compare with."""
    changed = [one for one in tests if one.changed]
    bare = len(tests) - len(changed)
    maps = counted(sum(one.changed for one in changed), "feature map")
    told = [f"{maps} changed in {counted(len(changed), 'test')}"] if changed else []
    if bare:
        told.append(f"{counted(bare, 'test')} without a baseline that can be read")
    return "; ".join(told)


# --- GitHub Actions -----------------------------------------------------------------------------


def on_github(environ: Mapping[str, str]) -> bool:
    """Tell whether this is a job of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


def workflow_commands(
    tests: Sequence[Failed], *, root: Path, environ: Mapping[str, str]
) -> Iterator[str]:
    """Yield a workflow command for each test, which GitHub shows at its line.

    Source: "Workflow commands for GitHub Actions", and `toCommandValue` and
    `escapeProperty` of the actions toolkit.
    """
    workspace = environ.get("GITHUB_WORKSPACE") or root
    for one in tests[:_TOLD]:
        file = Path(os.path.relpath(root / one.file, workspace)).as_posix()
        place = f"file={_property(file)},line={one.line}"
        yield f"::error {place},title={_property(_title(one))}::{_message(one.first)}"


def _title(one: Failed) -> str:
    return f"{counted(one.changed, 'feature map')} changed" if one.changed else "feature baseline"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def step_summary(tests: Sequence[Failed], accept: str) -> str:
    """Return the same as a table in Markdown."""
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
            *([_accepting(accept), ""] if accept else []),
            "",
        ]
    )


def _accepting(command: str) -> str:
    if len(command) > _COMMAND:
        return "The log of this run ends with the command that accepts them."
    return f"Accept with: <code>{_escaped(command)}</code>"


def _cell(text: str) -> str:
    return _escaped(text if len(text) <= _CELL else f"{text[: _CELL - 1]}…")


def _escaped(text: str) -> str:
    """Write a text so that Markdown and HTML see nothing in it but text."""
    return "".join(
        char
        if char.isalnum() or char in " ,.-"
        else f"&#{ord(char)};"
        if char.isprintable()
        else " "
        for char in text
    )


def append(path: str, text: str) -> str:
    """Append to the step summary, and say why that was not possible; empty when it was."""
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"the step summary could not be written: {error}"
    return ""
