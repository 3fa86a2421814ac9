"""The same tests with the code of another revision: its files, and their run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from pytest_featuremaps.against import refusals
from pytest_featuremaps.against.instructions import Instructions
from pytest_featuremaps.against.planning import Plan, digest
from pytest_featuremaps.against.provenance import Border, Stray
from pytest_featuremaps.against.references import RecordedRun, References
from pytest_featuremaps.runs import rerun
from pytest_featuremaps.runs.invocation import INSTRUCTIONS

_IN_ORDER: Final = (0, 1, 5)  # statuses of pytest: all passed, some failed, none collected


def run(plan: Plan, folder: Path, only: Collection[str] | None = None) -> RecordedRun:
    """Run tests with the code of the revision, in a temporary folder that is gone afterwards.

    Args:
        plan: what is to be run.
        folder: where the comparisons are kept.
        only: the tests to run, by node id; all that are selected when None.

    Raises:
        AgainstError: the run broke down, or a module did not come from the revision.
        GitError: git could not give the revision's files.
    """
    start = time.perf_counter()
    with _interruptible(), tempfile.TemporaryDirectory(prefix="featuremaps-") as name:
        base = Path(name).resolve()
        # A checkout that is a package itself is imported by the name of its folder.
        border = Border(plan.repository.top, base / "tree" / plan.repository.top.name)
        plan.repository.write(plan.revision.commit, border.tree, base / "index")
        changed = _lay_over(plan, border.tree)
        code = [file for file in _python_files(border.tree) if not plan.rule.holds(file)]
        instructions = Instructions(str(border.checkout), str(border.tree), str(folder), code, only)
        instructions.write(base / "instructions.json")
        outcome = _run(plan, border, base)
    seen = [_taken(path) for path in sorted(folder.glob("seen-*.json"))]
    if outcome.status not in _IN_ORDER or not seen:
        refusals.break_down(plan, outcome)
    refusals.check_strays(plan, [Stray(**one) for each in seen for one in each["strays"]])
    sources = _merged(seen, "sources")
    return RecordedRun(
        seconds=time.perf_counter() - start,
        comparisons=References(folder).comparisons(),
        reasons=_merged(seen, "reasons"),
        sources={name: file for name, file in sources.items() if file in set(code)},
        stamps=_merged(seen, "stamps"),
        changed_tests=sorted(
            file for file in set(sources.values()) & set(changed) if not plan.rule.collects(file)
        ),
    )


def _run(plan: Plan, border: Border, base: Path) -> rerun.Outcome:
    """Run pytest in the tree."""
    directory, root = border.there(plan.directory), border.there(plan.root)
    directory.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    if plan.configuration:
        configuration = _mapped_path(border, plan.configuration)
    else:
        # The revision may have had one.
        configuration = root / "pytest.ini"
        configuration.write_bytes(b"")
    own = [
        *("-c", str(configuration), f"--rootdir={root}", "--continue-on-collection-errors"),
        *(f"--featuremaps-output={base / 'results'}", "--featuremaps-report="),
        *plan.own,
    ]
    given = [_mapped(border, one) for one in plan.arguments]
    fronts = [one for place in dict.fromkeys((root, border.tree)) for one in (place / "src", place)]
    front = [str(one) for one in fronts if one.is_dir()]
    inherited = filter(None, _environment("PYTHONPATH").split(os.pathsep))
    pythonpath = dict.fromkeys([*front, *border.paths(inherited)])
    return rerun.run(
        rerun.arguments(given, options=plan.options, folder=base, own=own),
        directory=directory,
        environment={
            INSTRUCTIONS: str(base / "instructions.json"),
            "PYTHONPATH": os.pathsep.join(pythonpath),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": _mapped(border, _environment("PYTEST_ADDOPTS")),
        },
        paths=list(dict.fromkeys([*front, *border.paths(sys.path)])),
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Clean up after a request to end as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _lay_over(plan: Plan, tree: Path) -> list[str]:
    """Put the checkout's test code over the tree's; return what is not the same there."""
    changed = []
    for name in _files(tree):
        if plan.rule.holds(name) and name not in plan.tests:
            (tree / name).unlink()
    for name in plan.tests:
        here, there = plan.repository.top / name, tree / name
        if digest(here) == digest(there):
            continue
        changed.append(name)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.unlink(missing_ok=True)
        shutil.copy2(here, there)
    return changed


def _taken(path: Path) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return seen


def _mapped(border: Border, argument: str) -> str:
    """Return an argument with the checkout's path in it replaced by the tree's."""
    ends = (os.sep, "/", ":", " ", "'", '"')
    here, there = str(border.checkout), str(border.tree)
    if argument.endswith(here):
        argument = argument.removesuffix(here) + there
    for end in ends:
        argument = argument.replace(here + end, there + end)
    return argument


def _mapped_path(border: Border, path: Path) -> Path:
    return border.there(path) if path.is_relative_to(border.checkout) else path


def _files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    ]


def _python_files(folder: Path) -> list[str]:
    return [name for name in _files(folder) if name.endswith(".py")]


def _merged(seen: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    return {key: value for each in seen for key, value in each[name].items()}


def _environment(name: str) -> str:
    return os.environ.get(name, "")
