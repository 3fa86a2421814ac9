"""A revision of a git repository: what it is called, and a folder that holds its files."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# What git sets for the hooks it runs, and would take for this repository.
_OF_GIT = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
_SUBMODULE = "160000"


class GitError(Exception):
    """What git cannot do here, in a sentence and the way out."""


@dataclass(frozen=True)
class Revision:
    """One commit.

    Attributes:
        name: as it was asked for, such as `main` or `HEAD~3`.
        commit: its full hash.
        short: its hash as people write it.
    """

    name: str
    commit: str
    short: str

    def __str__(self) -> str:
        return self.name if self.commit.startswith(self.name) else f"{self.name} ({self.short})"


@dataclass(frozen=True)
class Repository:
    """A repository that is checked out.

    Attributes:
        top: the folder of its checkout.
    """

    top: Path

    def revision(self, name: str) -> Revision:
        """Find a revision.

        Raises:
            GitError: there is none of this name.
        """
        # A name that begins with a dash would be read as an option.
        asked = not name.startswith("-")
        found = self._ask("rev-parse", "-q", "--verify", _of(name)).split() if asked else []
        if len(found) != 1:  # a range is two
            raise GitError(self._unknown(name))
        commit, short = self._git("show", "-s", "--format=%H %h", found[0]).split()
        return Revision(name, commit, short)

    def files(self) -> list[str]:
        """Return the files of the checkout, those not committed included, those ignored not.

        Paths relative to the top, with slashes, in order.
        """
        listed = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        names = sorted(set(listed.split("\0")) - {""})
        return [name for name in names if (self.top / name).is_file()]

    def changed_submodules(self, commit: str) -> list[str]:
        """Return the submodules of a commit that hold changes which are not committed."""
        return [
            path
            for path, _ in self._submodules(commit)
            if _is_checked_out(self.top / path)
            and _run(self.top / path, ["status", "--porcelain"]).stdout
        ]

    def write(self, commit: str, folder: Path, index: Path) -> None:
        """Write the files of a commit into a folder, those of its submodules included.

        A worktree would be registered in the repository, and `git archive` leaves out what
        attributes tell it to; an index of its own does neither.

        Args:
            commit: its hash.
            folder: where to; it is made.
            index: a file that may be overwritten, outside of the folder.

        Raises:
            GitError: a submodule lacks the commit that belongs to this one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        index.unlink(missing_ok=True)
        own = {"GIT_INDEX_FILE": str(index)}
        self._git("read-tree", "--no-sparse-checkout", commit, more=own)
        self._git("checkout-index", "--all", "--quiet", f"--prefix={folder}/", more=own)
        for path, wanted in self._submodules(commit):
            submodule = Repository(self.top / path)
            # One that is not checked out is an empty folder here as well.
            if not _is_checked_out(submodule.top):
                continue
            if not submodule._ask("rev-parse", "-q", "--verify", _of(wanted)):
                raise GitError(
                    f"the submodule {path} has no commit {wanted[:10]}, which belongs to that "
                    f"revision.\nFetch it: git -C {path} fetch --all"
                )
            submodule.write(wanted, folder / path, index)

    def _submodules(self, commit: str) -> Iterator[tuple[str, str]]:
        for entry in self._git("ls-tree", "-r", "-z", commit).split("\0"):
            facts, _, path = entry.partition("\t")
            if facts.startswith(_SUBMODULE):
                yield path, facts.split()[2]

    def _unknown(self, name: str) -> str:
        if self._ask("rev-parse", "--is-shallow-repository").strip() == "true":
            return (
                f"git knows no revision {name!r}: this is a shallow clone, which holds the last "
                "commits only.\nFetch the whole history: `fetch-depth: 0` for actions/checkout, "
                "or `git fetch --unshallow`."
            )
        known = self._git("for-each-ref", "--format=%(refname:short)").split()
        near = [one for one in known if one.endswith(f"/{name}")]
        near += difflib.get_close_matches(name, set(known) - set(near))
        told = f"Did you mean {' or '.join(near[:3])}?" if near else "`git log --all` lists them."
        return f"git knows no revision {name!r}.\n{told}"

    def _ask(self, *arguments: str) -> str:
        """What git says, or nothing where it objects."""
        return _run(self.top, arguments).stdout

    def _git(self, *arguments: str, more: Mapping[str, str] | None = None) -> str:
        ended = _run(self.top, arguments, more)
        if ended.returncode:
            raise GitError(f"git {arguments[0]} failed in {self.top}: {_said(ended)}")
        return ended.stdout


def find(folder: Path) -> Repository:
    """Find the repository that a folder is in.

    Raises:
        GitError: there is none, or no git.
    """
    if shutil.which("git") is None:
        raise GitError("git is needed for it, and there is no git on the PATH.")
    ended = _run(folder, ["rev-parse", "--show-toplevel"])
    if ended.returncode == 0:
        return Repository(Path(ended.stdout.removesuffix("\n")))
    if "not a git repository" in ended.stderr:
        raise GitError(f"{folder} is not in a git repository, so there is no revision of it.")
    raise GitError(f"git cannot tell which repository {folder} is in: {_said(ended)}")


def _of(name: str) -> str:
    return f"{name}^{{commit}}"


def _is_checked_out(folder: Path) -> bool:
    return (folder / ".git").exists()


def _run(
    folder: Path, arguments: list[str] | tuple[str, ...], more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_GIT}
    return subprocess.run(  # noqa: S603 - git, with arguments of our own
        ["git", *arguments],  # noqa: S607 - the git that the user has
        cwd=folder,
        env=inherited | {"LC_ALL": "C"} | dict(more or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def _said(ended: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {ended.returncode}"
