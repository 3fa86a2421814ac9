"""Where modules come from: what is test code, and what keeps the checkout's modules out."""

import importlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import spec_from_file_location
from pathlib import Path, PurePosixPath

import pytest

from pytest_featuremaps.against.provenance import Border, Guard, Stray, foreign, is_own, strays
from pytest_featuremaps.against.testcode import Rule

COLLECTED = ["test_*.py", "*_test.py"]


@pytest.mark.parametrize(
    "name",
    [
        "conftest.py",
        "package/conftest.py",
        "test_net.py",
        "package/net_test.py",
        "tests/helpers.py",
        "tests/data/photo.png",
        "package/tests/helpers.py",
        "test/helpers.py",
        "unit_tests/helpers.py",
        "tests_of_layers/helpers.py",
        "checks/one.py",
    ],
)
def test_test_code(name):
    assert Rule(COLLECTED, ["checks/*"], PurePosixPath()).holds(name)


@pytest.mark.parametrize(
    "name",
    [
        "net.py",
        "package/net.py",
        "helpers.py",
        "test_data.bin",
        "testing/net.py",
        "latest/net.py",
        "package/contest.py",
        "more/checks/one.py",
        "tests.py",
    ],
)
def test_code_under_test(name):
    assert not Rule(COLLECTED, ["checks/*"], PurePosixPath()).holds(name)


def test_patterns_with_a_folder_are_matched_as_pytest_does():
    rule = Rule(["checks/*.py"], [], PurePosixPath())
    assert rule.holds("project/checks/one.py")
    assert not rule.holds("one.py")


def test_further_patterns_are_relative_to_the_root_directory():
    rule = Rule(COLLECTED, ["checks/*"], PurePosixPath("project"))
    assert rule.holds("project/checks/one.py")
    assert not rule.holds("checks/one.py")


# --- the border ---------------------------------------------------------------------------------


@pytest.fixture
def border(tmp_path):
    one = Border(tmp_path / "checkout", tmp_path / "tree")
    one.checkout.mkdir()
    one.tree.mkdir()
    return one


def put(folder, name, text=""):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_is_installed_inside_the_checkout_is_not_its_own(border, monkeypatch):
    checkout = border.checkout
    assert is_own(checkout, checkout / "src/net.py")
    assert not is_own(checkout, checkout / ".tox/py/lib/site-packages/numpy/core.py")
    assert not is_own(checkout, border.tree / "net.py")
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv"))
    assert not is_own(checkout, checkout / ".venv/lib/thing.py")
    # An environment around the checkout does not make it installed.
    monkeypatch.setattr(sys, "prefix", str(checkout.parent))
    assert is_own(checkout, checkout / "src/net.py")


def test_a_tree_inside_the_checkout_is_not_kept_out(tmp_path):
    border = Border(tmp_path, tmp_path / "made/tree")
    assert not border.keeps_out(tmp_path / "made/tree/net.py")
    assert border.keeps_out(tmp_path / "net.py")


def test_import_paths_are_turned_to_the_tree(border):
    here, there = str(border.checkout), str(border.tree)
    installed = f"{here}/.venv/lib/site-packages"
    paths = ["", f"{here}/src", installed, here, "/usr/lib/python", f"{here}/src"]
    assert border.paths(paths) == ["", f"{there}/src", installed, there, "/usr/lib/python"]


class EditableFinder:
    """What an editable install leaves: a finder that knows where a package is."""

    def __init__(self, checkout):
        self.checkout = checkout

    def find_spec(self, name, path=None, target=None):
        base = self.checkout.joinpath(*name.split("."))
        for file in (base / "__init__.py", *map(Path, map(f"{base}{{}}".format, SUFFIXES))):
            if file.exists():
                return spec_from_file_location(name, file)
        return None


SUFFIXES = [".py", *EXTENSION_SUFFIXES]


@pytest.fixture
def guarded(border, monkeypatch):
    """Imports as in a run at a revision of which there is an editable install."""
    monkeypatch.setattr(sys, "path", [str(border.tree), *sys.path])
    finder = EditableFinder(border.checkout)
    monkeypatch.setattr(sys, "meta_path", [Guard(border), *sys.meta_path, finder])
    known = set(sys.modules)
    yield border
    for name in set(sys.modules) - known:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_a_module_of_the_tree_is_found(guarded):
    for folder in (guarded.checkout, guarded.tree):
        put(folder, "made_pkg/__init__.py", f"place = {str(folder)!r}")
    assert importlib.import_module("made_pkg").place == str(guarded.tree)


def test_a_module_that_the_revision_lacks_is_missing(guarded):
    put(guarded.tree, "made_pkg/__init__.py")
    put(guarded.checkout, "made_pkg/__init__.py")
    put(guarded.checkout, "made_pkg/new.py")
    put(guarded.checkout, "made_alone.py")
    for name in ("made_pkg.new", "made_alone"):
        with pytest.raises(ModuleNotFoundError, match=f"^No module named '{name}'$"):
            importlib.import_module(name)


def test_a_part_of_a_namespace_package_that_the_revision_lacks_is_missing(guarded, monkeypatch):
    put(guarded.tree, "made_ns/old.py")
    put(guarded.checkout, "made_ns/old.py")
    put(guarded.checkout, "made_ns/new.py")
    monkeypatch.setattr(sys, "path", [*sys.path, str(guarded.checkout)])
    old = importlib.import_module("made_ns.old")
    assert Path(old.__file__).is_relative_to(guarded.tree)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("made_ns.new")


def test_what_is_nowhere_is_missing_as_ever(guarded):
    with pytest.raises(ModuleNotFoundError, match="No module named 'made_nowhere'"):
        importlib.import_module("made_nowhere")
    assert importlib.util.find_spec("made_nowhere") is None


@pytest.mark.parametrize("where", ["in the checkout", "installed"])
def test_a_compiled_extension_is_refused_with_the_way_out(guarded, monkeypatch, tmp_path, where):
    put(guarded.tree, "made_pkg/__init__.py")
    folder = guarded.checkout
    if where == "installed":
        folder = tmp_path / "site-packages"
        monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    put(folder, "made_pkg/__init__.py")
    put(folder, f"made_pkg/fast{EXTENSION_SUFFIXES[0]}")
    with pytest.raises(ImportError) as caught:
        exec("from made_pkg import fast", {})  # noqa: S102 - which forgives a missing module
    assert str(caught.value) == (
        "made_pkg.fast is a compiled extension, which git does not keep: check the revision out "
        "elsewhere, build it, and record baselines there with --snapshot-update"
    )


# --- the proof ----------------------------------------------------------------------------------


@pytest.fixture
def load(monkeypatch):
    """Load a file as a module of any name."""

    def load(name, file):
        spec = spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)

    return load


def test_modules_of_the_tree_and_installed_ones_are_no_strays(border, load, tmp_path):
    load("made_net", put(border.tree, "made_net.py"))
    load("made_library", put(tmp_path, "site-packages/made_library.py"))
    assert strays(border, ["made_net.py", "other/json/__init__.py"]) == []


def test_a_module_of_the_checkout_is_a_stray_whatever_its_name(border, load):
    file = put(border.checkout, "src/net.py")
    load("made_by_path", file)
    assert strays(border, []) == [Stray("made_by_path", str(file), "src/net.py")]


@pytest.mark.parametrize(
    ("module", "kept"),
    [
        ("made_pkg", "made_pkg/__init__.py"),
        ("made_pkg.net", "python/made_pkg/net.py"),
        ("made_ns.made_pkg.net", "src/made_ns/made_pkg/net.py"),
    ],
)
def test_an_installed_copy_of_what_the_repository_has_is_a_stray(
    border, load, tmp_path, module, kept
):
    file = put(tmp_path, f"site-packages/{kept.partition('/')[2] or kept}")
    load(module, file)
    code = {kept, str(PurePosixPath(kept).with_name("__init__.py"))}
    assert strays(border, code) == [Stray(module, str(file), kept)]


def test_a_copy_inside_a_package_is_not_the_library_of_that_name(border, load, tmp_path):
    load("made_six", put(tmp_path, "site-packages/made_six.py"))
    code = ["pkg/__init__.py", "pkg/vendored/__init__.py", "pkg/vendored/made_six.py"]
    assert strays(border, code) == []


def test_an_installed_copy_must_be_what_the_checkout_has(border, load, tmp_path):
    sources = {"made_pkg": "src/made_pkg.py", "made_other": "src/made_other.py"}
    put(border.checkout, "src/made_pkg.py", "x = 1\n")
    file = put(tmp_path, "site-packages/made_pkg.py", "x = 1\n")
    load("made_pkg", file)
    assert foreign(border.checkout, sources) is None
    put(border.checkout, "src/made_pkg.py", "x = 2\n")
    assert foreign(border.checkout, sources) == Stray("made_pkg", str(file), "src/made_pkg.py")
    (border.checkout / "src/made_pkg.py").unlink()
    assert foreign(border.checkout, sources) == Stray("made_pkg", str(file), "src/made_pkg.py")


def test_the_checkouts_own_modules_are_not_foreign(border, load):
    load("made_pkg", put(border.checkout, "moved/made_pkg.py"))
    assert foreign(border.checkout, {"made_pkg": "src/made_pkg.py"}) is None
