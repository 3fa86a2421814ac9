"""The house: which room may know which, and what a run that does not use it loads."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pytest_featuremaps"

FOUNDATION = {"errors", "wording", "filenames", "writing"}
NUMBERS = {"numpy", "torch"}

# Each room, from the top floor down: the rooms and the libraries it may import. A room on
# the ground floor knows the foundation only. A package is one room, or drawn room by room.
ROOMS = {
    "__init__": {
        "recording",
        "fake",
        "snapshots",
        "live",
        "feature_map",
        "maps",
        "tolerances",
        "errors",
    },
    "__main__": {"cli"},
    "plugin": {
        "pytest",
        "comparisons",
        "reporting",
        "reviewing",
        "recapping",
        "rehearsing",
        "cleaning",
        "marks",
        "invocation",
        "against.orders",
        "recording",
        "fake",
        "snapshots",
        "verdicts",
        "tolerances",
        *FOUNDATION,
    },
    "comparisons": {
        "pytest",
        "reporting",
        "reviewing",
        "rehearsing",
        "marks",
        "invocation",
        "against.comparing",
        "against.visiting",
        "against.orders",
        "snapshots",
        "verdicts",
    },
    "cleaning": {"pytest"},
    "marks": {"pytest", "recording", "models", "errors"},
    "rehearsing": {"pytest", "rerun", "invocation", "wording"},
    "reviewing": {"pytest", "verdicts", "results", "review", "invocation", *FOUNDATION},
    "cli": {"review", *FOUNDATION},
    "results": {
        "verdicts",
        "review",
        "story",
        "phrases",
        "baseline",
        "tables",
        "rendering",
    },
    "against.comparing": {
        "pytest",
        "reporting",
        "against.stores",
        "against.steadiness",
        "against.recordings",
        "against.running",
        "against.refusals",
        "against.planning",
        "against.revision",
        "against.references",
        *FOUNDATION,
    },
    "against.visiting": {
        "pytest",
        "against.stores",
        "against.orders",
        "against.references",
        "against.provenance",
    },
    "against.stores": {
        "pytest",
        "syrupy",
        "extensions",
        "verdicts",
        "against.references",
        "against.provenance",
        *FOUNDATION,
    },
    "against.steadiness": {"baseline", "rendering", "tables", "against.references", "wording"},
    "against.recordings": {
        "against.running",
        "against.refusals",
        "against.planning",
        "against.references",
    },
    "against.running": {
        "rerun",
        "against.refusals",
        "against.planning",
        "against.orders",
        "against.references",
        "against.provenance",
        "invocation",
    },
    "against.refusals": {
        "rerun",
        "against.planning",
        "against.references",
        "against.provenance",
    },
    "against.planning": {"pytest", "invocation", "against.revision", "against.testcode"},
    "against.orders": {"against.provenance", "invocation"},
    "against.revision": set(),
    "against.testcode": set(),
    "against.references": {*FOUNDATION},
    "against.provenance": set(),
    "against.__init__": set(),
    "reporting": {"pytest", "recapping", "summaries", "verdicts", "recording", *FOUNDATION},
    "recapping": {"pytest", "verdicts", "recap", "invocation"},
    "recap": {"verdicts", "wording"},
    "invocation": {"pytest"},
    "snapshots": {
        "syrupy",
        "extensions",
        "verdicts",
        "measuring",
        "maps",
        "feature_map",
        "noise",
        "rerun",
        "renaming",
        "tolerances",
        "tables",
        *FOUNDATION,
    },
    "live": {
        "wording",
        "baseline",
        "judging",
        "measuring",
        "maps",
        "renaming",
        "story",
        "tables",
        "tolerances",
        *FOUNDATION,
    },
    "extensions": {
        "syrupy",
        "verdicts",
        "feature_map",
        "story",
        "baseline",
        "renaming",
        "tolerances",
        "tables",
        "rendering",
        "comparing",
        *FOUNDATION,
    },
    "verdicts": {"baseline"},
    "recording": {
        "torch",
        "watching",
        "calls",
        "silence",
        "functional",
        "models",
        "maps",
        "wishes",
        "log",
        "targets",
        "feature_map",
        "keys",
        "paths",
        *FOUNDATION,
    },
    "watching": {
        "torch",
        "models",
        "hooks",
        "entering",
        "silence",
        "log",
        "weights",
        "wishes",
        "targets",
        "keys",
        "paths",
    },
    "fake": {"torch", "errors"},
    "calls": {
        "torch",
        "models",
        "hooks",
        "functional",
        "log",
        "wishes",
        "targets",
        "feature_map",
        "keeping",
        "keys",
        "leaves",
        "paths",
        *FOUNDATION,
    },
    "hooks": {
        "torch",
        "log",
        "entering",
        "feature_map",
        "keeping",
        "keys",
        "leaves",
        "layouts",
        "paths",
    },
    "functional": {"torch"},
    "silence": {"torch", "targets", "keys", "paths"},
    "models": {"torch", "paths"},
    "measuring": {"torch", "maps", "feature_map", "sketch", "stats", "chunks", "tables", "errors"},
    "maps": {
        "views",
        "targets",
        "sheets",
        "looks",
        "summaries",
        "checkup",
        "feature_map",
        "contracts",
        "vitals",
        "grammar",
        "log",
        "keys",
        *FOUNDATION,
    },
    "views": {"targets", "feature_map", "log", "keys", "paths", *FOUNDATION},
    "log": {"entering", "feature_map", "keys", "paths"},
    "entering": {"torch", "leaves", "sketch", "errors"},
    "weights": {"torch", "sketch", "errors"},
    "wishes": {"keys", "layouts", "errors"},
    "sheets": {"PIL", "feature_map", "looks", "planes", "rendering", "errors"},
    "summaries": {"feature_map", "contracts", *FOUNDATION},
    "checkup": {"torch", "feature_map", "health", "vitals", "stats", "errors"},
    "targets": {"torch", "paths", *FOUNDATION},
    "feature_map": {
        "torch",
        "pictures",
        "attention",
        "bounds",
        "contracts",
        "grammar",
        "keeping",
        "keys",
        "leaves",
        *FOUNDATION,
    },
    "pictures": {
        "PIL",
        *NUMBERS,
        "values",
        "looks",
        "keeping",
        "layouts",
        "planes",
        "grids",
        "rendering",
        "chunks",
        "errors",
    },
    "looks": {"numpy", "PIL", "planes", "components", "rendering", "wording"},
    "values": {"keeping", "keys", "layouts", "stats", "chunks", "errors", *NUMBERS},
    "keeping": {"torch", "keys", "reducing", "sketch", "stats", "chunks", "errors"},
    "keys": {"leaves", "wording"},
    "leaves": {"torch"},
    "paths": {"torch"},
    "health": {"gradients", "vitals", "stats", "wording"},
    "gradients": {"vitals", "stats", "wording"},
    "vitals": {"stats"},
    "bounds": {"stats", "wording"},
    "contracts": {"shapes", "grammar", "wording", "errors"},
    "noise": {"tolerances", "tables"},
    "story": {
        "wording",
        "causes",
        "phrases",
        "structure",
        "baseline",
        "judging",
        "tolerances",
    },
    "causes": {"wording", "phrases", "baseline", "judging", "tables"},
    "phrases": {"wording", "baseline", "judging", "tables"},
    "structure": {"baseline", "naming"},
    "review": {"tables", *FOUNDATION},
    "baseline": {"judging", "alignment", "renaming", "tolerances", "tables", "errors"},
    "judging": {"tolerances", "tables"},
    "alignment": {"likeness", "naming", "tables"},
    "likeness": {"naming", "tolerances", "tables"},
    "renaming": {"errors", "wording"},
    "naming": set(),
    "tolerances": {"tables", "errors"},
    "tables": {"errors"},
    "reducing": {"stats", "sketch", "folding", "chunks", "errors", *NUMBERS},
    "stats": {"merging", "chunks", "errors", *NUMBERS},
    "merging": {"numpy", "chunks"},
    "sketch": {"folding", "chunks", "errors", *NUMBERS},
    "folding": {"chunks", *NUMBERS},
    "chunks": {"errors", *NUMBERS},
    "shapes": {"grammar", "errors"},
    "grammar": {"errors", "wording"},
    "attention": {"torch"},
    "layouts": {"grids", "wording"},
    "planes": {"numpy", "grids"},
    "grids": set(),
    "components": {"numpy"},
    "rendering": {"numpy", "PIL", "errors"},
    "comparing": {"numpy", "wording"},
    "rerun": set(),
    "errors": set(),
    "wording": set(),
    "filenames": set(),
    "writing": set(),
}
TYPES_ONLY = {"pictures": {"PIL"}, "maps": {"PIL"}}


def rooms():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield room_of(path.relative_to(PACKAGE).with_suffix("").parts), path


def room_of(parts):
    """The room of a module, or of a name in it."""
    inside = ".".join(parts[:2])
    return inside if inside in ROOMS else parts[0]


def imports(path):
    """Every module that a file imports, wherever in it: ours by room, others by library."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    for name in found:
        first, *rest = name.split(".")
        if first == "pytest_featuremaps":
            yield room_of(rest)
        elif first not in sys.stdlib_module_names:
            yield first


def test_every_room_is_in_the_drawing():
    assert {room for room, _ in rooms()} == set(ROOMS)


@pytest.mark.parametrize(
    ("room", "path"), list(rooms()), ids=lambda value: getattr(value, "stem", value)
)
def test_a_room_knows_only_what_the_drawing_shows(room, path):
    allowed = ROOMS[room] | TYPES_ONLY.get(room, set()) | {room}
    assert set(imports(path)) <= allowed


def test_every_arrow_of_the_drawing_is_there():
    drawn = {(room, other) for room, allowed in ROOMS.items() for other in allowed - FOUNDATION}
    assert drawn <= {(room, other) for room, path in rooms() for other in imports(path)}


def test_arrows_only_go_down():
    floor = {room: number for number, room in enumerate(ROOMS)}
    for room, allowed in ROOMS.items():
        for other in allowed & set(ROOMS):
            assert floor[room] < floor[other], f"{room} must stand above {other}"


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
