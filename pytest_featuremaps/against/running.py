"""The same tests with the code of another revision: its files, its run, its recording."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NoReturn

from pytest_featuremaps import rerun
from pytest_featuremaps.against.orders import Orders
from pytest_featuremaps.against.provenance import Border, Stray
from pytest_featuremaps.against.references import Recording, References
from pytest_featuremaps.against.revision import Repository, Revision
from pytest_featuremaps.against.testcode import Rule
from pytest_featuremaps.invocation import ORDERS

_PASSED_OR_FAILED: Final = (0, 1, 5)
_LINES: Final = 12  # of the output of a run that broke down
_KEPT: Final = 8  # recordings of a checkout

# What differs from one shell to the next, and is no part of what a test depends on.
_VOLATILE: Final = (
    *("PWD", "OLDPWD", "SHLVL", "_", "TERM", "COLUMNS", "LINES", "PYTEST_CURRENT_TEST"),
    *("PYTEST_VERSION", "WINDOWID", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK"),
)


class AgainstError(Exception):
    """Why there is nothing to compare with, in a sentence and the way out."""


@dataclass(frozen=True)
class Visit:
    """What is to be run at another revision.

    Attributes:
        repository: the repository.
        revision: the revision.
        root: pytest's root directory, in the checkout.
        directory: the working directory.
        arguments: pytest's arguments as they were given.
        own: what has to come after them.
        options: the names of the options that pytest and its plugins know here.
        configuration: pytest's configuration file; None where there is none.
        tests: the files of the checkout that are test code, relative to its top.
        rule: what counts as test code.
    """

    repository: Repository
    revision: Revision
    root: Path
    directory: Path
    arguments: Sequence[str]
    own: Sequence[str]
    options: Collection[str]
    configuration: Path | None
    tests: Sequence[str]
    rule: Rule

    def key(self) -> str:
        """Return what a recording depends on, as a name: revision, tests and environment."""
        facts = [
            self.revision.commit,
            [*self.arguments, *self.own, *sys.flags, sys.version, *platform.uname(), _processors()],
            [str(self.repository.top), str(self.root), str(self.directory)],
            sorted((name, value) for name, value in os.environ.items() if name not in _VOLATILE),
            sorted((str(one.name), one.version) for one in metadata.distributions()),
            [(name, _digest(self.repository.top / name)) for name in self.tests],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def reusable(folder: Path) -> Recording | None:
    """Return an earlier recording, unless a module that it loaded has changed since."""
    recording = References(folder).recording()
    if recording and all(_stamp(path) == list(one) for path, one in recording.stamps.items()):
        return recording
    return None


def record(visit: Visit, folder: Path) -> Recording:
    """Run the tests with the code of the revision, and keep their comparisons in a folder.

    The folder is there when all went well, and not before. Of two runs at the same time, the
    first to be done is the one that both compare with.

    Raises:
        AgainstError: there is nothing to compare with.
        GitError: git could not give the revision's files.
    """
    begun = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir(parents=True)
    try:
        recording = run(visit, begun)
        _judge(visit, recording)
        References(begun).finish(recording)
        other = reusable(folder)
        if other is None:
            shutil.rmtree(folder, ignore_errors=True)
            begun.replace(folder)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    _forget(folder.parent)
    return other or recording


def run(visit: Visit, folder: Path, only: Collection[str] | None = None) -> Recording:
    """Run tests with the code of the revision, in a temporary folder that is gone afterwards.

    Args:
        visit: what is to be run.
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
        border = Border(visit.repository.top, base / "tree" / visit.repository.top.name)
        visit.repository.write(visit.revision.commit, border.tree, base / "index")
        changed = _lay_over(visit, border.tree)
        code = [file for file in _python_files(border.tree) if not visit.rule.holds(file)]
        told = Orders(str(border.checkout), str(border.tree), str(folder), code, only)
        told.write(base / "orders.json")
        end = _run(visit, border, base)
    seen = [_taken(path) for path in sorted(folder.glob("seen-*.json"))]
    if end.status not in _PASSED_OR_FAILED or not seen:
        _break_down(visit, end)
    _check_strays(visit, [Stray(**one) for each in seen for one in each["strays"]])
    sources = _merged(seen, "sources")
    return Recording(
        seconds=time.perf_counter() - start,
        comparisons=References(folder).comparisons(),
        reasons=_merged(seen, "reasons"),
        sources={name: file for name, file in sources.items() if file in set(code)},
        stamps=_merged(seen, "stamps"),
        changed_tests=sorted(
            file for file in set(sources.values()) & set(changed) if not visit.rule.collects(file)
        ),
    )


def _run(visit: Visit, border: Border, base: Path) -> rerun.End:
    """Run pytest in the tree."""
    directory, root = border.there(visit.directory), border.there(visit.root)
    directory.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    if visit.configuration:
        configuration = _mapped_path(border, visit.configuration)
    else:
        # The revision may have had one.
        configuration = root / "pytest.ini"
        configuration.write_bytes(b"")
    own = [
        *("-c", str(configuration), f"--rootdir={root}", "--continue-on-collection-errors"),
        *(f"--featuremaps-output={base / 'results'}", "--featuremaps-report="),
        *([f"--override-ini=cache_dir={base / 'cache'}"] if "cacheclear" in visit.options else []),
        *visit.own,
    ]
    given = [_mapped(border, one) for one in visit.arguments]
    fronts = [one for place in dict.fromkeys((root, border.tree)) for one in (place / "src", place)]
    front = [str(one) for one in fronts if one.is_dir()]
    inherited = filter(None, _environment("PYTHONPATH").split(os.pathsep))
    pythonpath = dict.fromkeys([*front, *border.paths(inherited)])
    return rerun.run(
        rerun.arguments(given, options=visit.options, folder=base, own=own),
        directory=directory,
        surroundings={
            ORDERS: str(base / "orders.json"),
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


def _lay_over(visit: Visit, tree: Path) -> list[str]:
    """Put the checkout's test code over the tree's; return what is not the same there."""
    changed = []
    for name in _files(tree):
        if visit.rule.holds(name) and name not in visit.tests:
            (tree / name).unlink()
    for name in visit.tests:
        here, there = visit.repository.top / name, tree / name
        if _digest(here) == _digest(there):
            continue
        changed.append(name)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.unlink(missing_ok=True)
        shutil.copy2(here, there)
    return changed


def _check_strays(visit: Visit, strays: Sequence[Stray]) -> None:
    if not strays:
        return
    one, others = strays[0], len(strays) - 1
    more = f" (and {others} more)" if others else ""
    if Path(one.file).is_relative_to(visit.repository.top):
        way_out = "Something loads it by that path: let it take a path relative to its own file."
    else:
        way_out = (
            f"That is an installed copy; the repository has it as {one.belongs}. Put the folder "
            "it is imported from on the import path, with the ini option `pythonpath`."
        )
    raise AgainstError(
        f"the reference would not be {visit.revision}: its run loaded {one.module} from "
        f"{one.file}{more}.\n{way_out}"
    )


def _judge(visit: Visit, recording: Recording) -> None:
    """Stop where comparing would say nothing, or would say it of the wrong code."""
    if not recording.comparisons:
        told = [f"  {test}: {why}" for test, why in list(recording.reasons.items())[:_LINES]]
        lines = [f"no selected test made a comparison with feature_snapshot at {visit.revision}."]
        lines += ["There, these did not pass:", *told] if told else []
        raise AgainstError("\n".join(lines))
    if not recording.sources:
        raise AgainstError(
            f"nothing that the tests loaded came from {visit.revision}: it was test code of this "
            "checkout and installed packages only, so that nothing could differ.\n"
            "The code under test has to lie outside of what counts as tests: conftest.py, files "
            "that pytest collects, and folders called test or tests."
        )

    inside = visit.root.relative_to(visit.repository.top)
    for test, _ in recording.comparisons:
        file = (inside / test.partition("::")[0]).as_posix()
        if not visit.rule.holds(file):
            raise AgainstError(
                f"{file} holds tests, but by its name it counts as code under test, so that the "
                f"tests of {visit.revision} would run in place of these.\n"
                "Say that it is test code with the ini option `featuremaps_test_files`."
            )


def _taken(path: Path) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return seen


def _break_down(visit: Visit, end: rerun.End) -> NoReturn:
    told = f"the run at {visit.revision} broke down with exit status {end.status}. It said last:"
    raise AgainstError("\n  ".join([told, *end.output[-_LINES:]]))


def _forget(folder: Path) -> None:
    """Keep the newest recordings only."""
    recordings = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    recordings.sort(key=lambda path: path.stat().st_mtime)
    for path in recordings[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)


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


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _stamp(path: str) -> list[int]:
    try:
        facts = Path(path).stat()
    except OSError:
        return []
    return [facts.st_size, facts.st_mtime_ns]


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 0


def _environment(name: str) -> str:
    return os.environ.get(name, "")
