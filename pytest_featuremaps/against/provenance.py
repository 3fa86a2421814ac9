"""Where the modules of a run come from: from one revision's tree, and from nowhere else."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)


@dataclass(frozen=True)
class Stray:
    """A module of the project that was loaded from elsewhere.

    Attributes:
        module: its name.
        file: where it was loaded from.
        belongs: the file of the tree that it should have been, relative to its top.
    """

    module: str
    file: str
    belongs: str


@dataclass(frozen=True)
class Border:
    """The line between a checkout and the tree of one of its revisions.

    Attributes:
        checkout: the top of the checkout, where no module may come from.
        tree: the top of the revision's tree.
    """

    checkout: Path
    tree: Path

    def keeps_out(self, file: str | Path) -> bool:
        """Tell whether a file is the checkout's own."""
        return is_own(self.checkout, file) and not Path(file).is_relative_to(self.tree)

    def paths(self, paths: Iterable[str]) -> list[str]:
        """Return import paths with each folder of the checkout replaced by that of the tree."""
        kept: dict[str, None] = {}
        for path in paths:
            here = Path(path)
            there = self.there(here) if self.keeps_out(here) else here
            kept[str(there) if path else path] = None
        return list(kept)

    def there(self, path: Path) -> Path:
        """Return the place in the tree of a path in the checkout."""
        return self.tree / path.relative_to(self.checkout)


def is_own(checkout: Path, file: str | Path) -> bool:
    """Tell whether a file belongs to a checkout; what is installed inside of it does not."""
    path, environment = Path(file), Path(sys.prefix)
    if not path.is_relative_to(checkout):
        return False
    if environment.is_relative_to(checkout) and path.is_relative_to(environment):
        return False
    return _INSTALLED.isdisjoint(path.relative_to(checkout).parts)


class Guard:
    """A finder of modules that asks all the others, and takes nothing from the checkout.

    An editable install leads back there, by its own finder or for a part of a namespace
    package; a module that the revision lacks must be missing.
    """

    def __init__(self, border: Border) -> None:
        self._border = border

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the first finding that does not lie in the checkout.

        Raises:
            ModuleNotFoundError: there is one in the checkout only. To return None would be to
                let the finders after this one be asked.
            ImportError: it is a compiled extension, which the revision does not have.
        """
        barred = ""
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is None:
                continue
            if not spec.has_location or not self._border.keeps_out(spec.origin or ""):
                return spec
            barred = barred or spec.origin or ""
        if barred.endswith(_COMPILED) or _is_compiled(name):
            raise ImportError(
                f"{name} is a compiled extension, which git does not keep: check the revision "
                "out elsewhere, build it, and record baselines there with --snapshot-update",
                name=name,
            )
        if barred:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def _is_compiled(name: str) -> bool:
    """Tell whether an installed copy of a package has a module as a compiled extension."""
    *package, module = name.split(".")
    folders = (Path(entry, *package) for entry in sys.path if package)
    return any((folder / (module + ending)).exists() for folder in folders for ending in _COMPILED)


def strays(border: Border, files: Iterable[str]) -> list[Stray]:
    """Return the loaded modules of the project that did not come from the tree.

    Args:
        border: what is inside and what is not.
        files: the tree's Python files that are code under test, relative to its top.
    """
    belongs = _places(files)
    found = []
    for name, file in loaded():
        if file.is_relative_to(border.tree):
            continue
        if border.keeps_out(file):
            found.append(Stray(name, str(file), file.relative_to(border.checkout).as_posix()))
        elif place := _place(belongs, name, file):
            found.append(Stray(name, str(file), place))
    return found


def foreign(checkout: Path, sources: Mapping[str, str]) -> Stray | None:
    """Return a loaded module that is neither the checkout's own nor a copy of its file.

    Args:
        checkout: the top of the checkout.
        sources: the files of the project's modules by name, relative to its top.
    """
    for name, file in loaded():
        if name not in sources or is_own(checkout, file):
            continue
        here = checkout / sources[name]
        if not here.is_file() or here.read_bytes() != file.read_bytes():
            return Stray(name, str(file), sources[name])
    return None


def loaded() -> Iterator[tuple[str, Path]]:
    """Name the modules that are loaded and have a file, those of Python itself left out."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name.partition(".")[0] not in sys.stdlib_module_names:
            yield name, Path(file).resolve()


def _places(files: Iterable[str]) -> Mapping[str, str]:
    """Files by each name that a module of theirs may have, as a path: `net.py`, `ns/net.py`."""
    names = {PurePosixPath(file) for file in files}
    packages = {file.parent for file in names if file.name == "__init__.py"}
    places = {}
    for file in names:
        for parent in file.parents:
            if parent not in packages:
                places[str(file.relative_to(parent))] = str(file)
    return places


def _place(belongs: Mapping[str, str], name: str, file: Path) -> str:
    path = name.replace(".", "/")
    tail = "/__init__.py" if file.name.startswith("__init__.") else ".py"
    return belongs.get(path + tail, "")
