"""Plans the run at another revision, so that it selects and configures as this one does."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Final

import pytest

from pytest_featuremaps.against import revision
from pytest_featuremaps.against.revision import Repository, Revision
from pytest_featuremaps.against.testcode import Rule
from pytest_featuremaps.runs.invocation import TEST_FILES, same_seed

# What differs from one shell to the next, and is no part of what a test depends on.
_VOLATILE: Final = (
    *("PWD", "OLDPWD", "SHLVL", "_", "TERM", "COLUMNS", "LINES", "PYTEST_CURRENT_TEST"),
    *("PYTEST_VERSION", "WINDOWID", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK"),
)


@dataclass(frozen=True)
class Plan:
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
            [(name, digest(self.repository.top / name)) for name in self.tests],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def make_plan(config: pytest.Config, name: str) -> Plan:
    """Plan the run at a revision so that it selects and configures as this one does.

    Raises:
        GitError: there is none.
    """
    root = config.rootpath.resolve()
    repository = revision.find(root)
    top = repository.top
    inside = PurePosixPath(root.relative_to(top).as_posix())
    rule = Rule(config.getini("python_files"), config.getini(TEST_FILES), inside)
    configuration = config.inipath.resolve() if config.inipath else None
    tests = [file for file in repository.files() if rule.holds(file)]
    if configuration and configuration.is_relative_to(top):
        tests.append(configuration.relative_to(top).as_posix())
    directory = config.invocation_params.dir.resolve()
    arguments = [str(one) for one in config.invocation_params.args]
    if not directory.is_relative_to(top):
        arguments = [_absolute(directory, one) for one in arguments]
        directory = root
    return Plan(
        repository=repository,
        revision=repository.revision(name),
        root=root,
        directory=directory,
        arguments=arguments,
        own=list(_own(config)),
        options=vars(config.option),
        configuration=configuration,
        tests=tests,
        rule=rule,
    )


def digest(path: Path) -> str:
    """Return what tells whether two files hold the same; empty where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _own(config: pytest.Config) -> Iterator[str]:
    """Yield arguments with which the other run shares its work, draws and selects as this one."""
    workers = config.getoption("numprocesses", default=None)
    if workers:
        yield from (f"--numprocesses={workers}", f"--dist={config.getoption('dist')}")
    yield from same_seed(config)


def _absolute(directory: Path, argument: str) -> str:
    """Return an argument that is a path, or a test in a file, as an absolute one."""
    file, colons, test = argument.partition("::")
    path = directory / file
    return f"{path.resolve()}{colons}{test}" if file[:1] != "-" and path.exists() else argument


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 0
