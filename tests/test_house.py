"""The house: which room may know which, and what a run that does not use it loads."""

import ast
import graphlib
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pytest_featuremaps"

# Each room, from the top floor down: the rooms below that it may know, and the libraries. The last
# four rooms are the foundation, which every room stands on.
FOUNDATION = {"errors", "wording", "filenames", "disk"}
ROOMS = {
    "__init__": {"recording", "snapshots", "maps", "baseline"},
    "__main__": {"cli"},
    "plugin": {"session", "against", "recording", "snapshots", "runs", "pytest"},
    "cli": {"review"},
    "session": {
        "against",
        "recording",
        "snapshots",
        "maps",
        "review",
        "runs",
        "baseline",
        "pytest",
    },
    "against": {"snapshots", "rendering", "baseline", "runs", "pytest", "syrupy"},
    "recording": {"maps", "names", "layouts", "numbers", "torch"},
    "snapshots": {"maps", "review", "story", "rendering", "baseline", "runs", "syrupy"},
    "maps": {
        "checks",
        "names",
        "story",
        "rendering",
        "layouts",
        "baseline",
        "numbers",
        "torch",
        "numpy",
        "PIL",
    },
    "review": {"baseline"},
    "runs": {"pytest"},
    "checks": {"numbers"},
    "names": {"torch"},
    "rendering": {"layouts", "numpy", "PIL"},
    "story": {"baseline"},
    "baseline": set(),
    "layouts": {"numpy"},
    "numbers": {"torch", "numpy"},
    "errors": set(),
    "wording": set(),
    "filenames": set(),
    "disk": set(),
}
# Of a room that knows such a library, only these modules do.
DOORS = {
    "syrupy": {"snapshots.stores", "snapshots.extensions", "against.stores"},
    "pytest": {
        "runs.collected",
        "runs.invocation",
        "against.comparing",
        "against.planning",
        "against.stores",
        "against.at_revision",
    },
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


MODULES = dict(modules())


def room_of(module):
    return module.partition(".")[0]


def imports(path):
    """Every module that a file imports, wherever in it: ours by path, others by library."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    for name in found:
        first, *rest = name.split(".")
        if first == "pytest_featuremaps":
            yield module_of(rest)
        elif first not in sys.stdlib_module_names:
            yield first


def module_of(names):
    """The module that is imported, or that something is imported from."""
    spellings = (".".join(names[:end]) for end in range(len(names), 0, -1))
    known = (one for one in spellings if one in MODULES or f"{one}.__init__" in MODULES)
    found = next(known)
    return found if found in MODULES else f"{found}.__init__"


IMPORTS = {name: set(imports(path)) for name, path in MODULES.items()}


def known_to(room):
    """What the modules of a room know, but for the room itself."""
    inside = [found for name, found in IMPORTS.items() if room_of(name) == room]
    return {room_of(one) for found in inside for one in found} - {room}


def test_every_room_is_in_the_drawing():
    assert {room_of(name) for name in MODULES} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_what_the_drawing_shows_and_nothing_else(room):
    assert known_to(room) - FOUNDATION == ROOMS[room]


def test_arrows_only_go_down():
    floor = {room: number for number, room in enumerate(ROOMS)}
    for room in ROOMS:
        for other in known_to(room) & set(ROOMS):
            assert floor[room] < floor[other], f"{room} must stand above {other}"


def test_no_two_modules_know_each_other_by_any_way():
    order = graphlib.TopologicalSorter(
        {name: found & set(MODULES) for name, found in IMPORTS.items()}
    )
    order.prepare()  # raises where there is a cycle, and names it


@pytest.mark.parametrize("library", DOORS)
def test_a_library_is_known_to_few_modules(library):
    behind = {"plugin", "session"} if library == "pytest" else set()
    found = {name for name, known in IMPORTS.items() if library in known}
    assert {name for name in found if room_of(name) not in behind} == DOORS[library]


HEAVY = ("torch", "numpy", "PIL", "syrupy")
WATCH = f"""
import sys

HEAVY = {HEAVY}

def loaded():
    return [name for name in HEAVY if name in sys.modules]

def pytest_sessionstart(session):
    print("\\nloaded at the start:", loaded())

import atexit
atexit.register(lambda: print("loaded at exit:", loaded()))
"""


@pytest.fixture
def run_watched(pytester):
    """Run a test file in a fresh process that reports which heavy modules it loaded."""

    def run(body):
        pytester.makeconftest(WATCH)
        pytester.makepyfile(body)
        # syrupy is a plugin of its own and loads itself; ours must not.
        return pytester.runpytest_subprocess(
            "-s", "-p", "no:syrupy", "-p", "no:torch", "-p", "no:hypothesispytest", "-p", "no:xdist"
        )

    return run


def test_a_run_that_does_not_use_the_plugin_loads_nothing_heavy(run_watched):
    result = run_watched(
        """
        import pytest

        @pytest.mark.parametrize("i", range(3))
        def test_it(i):
            assert i < 2
        """
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["loaded at the start: []", "loaded at exit: []"])


def test_the_check_can_fail(run_watched):
    result = run_watched("def test_it(feature_maps): pass")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["loaded at the start: []", "loaded at exit: ['torch', 'numpy', *"])


def test_importing_the_package_loads_nothing_heavy(pytester):
    pytester.makepyfile(
        check=f"""
        import sys
        import pytest_featuremaps
        import pytest_featuremaps.plugin
        print([name for name in {HEAVY} if name in sys.modules])
        pytest_featuremaps.capture
        print("torch" in sys.modules)
        """
    )
    result = pytester.runpython(pytester.path / "check.py")
    assert result.outlines == ["[]", "True"]


def test_the_console_script_loads_nothing_heavy(pytester):
    pytester.makepyfile(
        check=f"""
        import sys
        from pytest_featuremaps import cli
        cli.main(["list"])
        cli.main(["report"])
        print([name for name in (*{HEAVY}, "pytest") if name in sys.modules])
        """
    )
    result = pytester.runpython(pytester.path / "check.py")
    assert result.outlines == ["Nothing waits for review.", "featuremaps.html", "[]"]


def test_the_plugin_is_found_by_its_entry_point(pytester):
    result = pytester.runpytest("--trace-config")
    result.stdout.fnmatch_lines(["*pytest_featuremaps.plugin*"])
