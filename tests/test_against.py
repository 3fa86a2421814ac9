"""A run that compares with another revision of the code, on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath
from types import ModuleType, SimpleNamespace

import pytest
from repositories import Repository

from pytest_featuremaps.against import (
    cache,
    comparing,
    instructions,
    planning,
    refusals,
    revision,
    running,
    stores,
)
from pytest_featuremaps.against.provenance import Border
from pytest_featuremaps.against.references import RecordedRun, References
from pytest_featuremaps.against.testcode import Rule
from pytest_featuremaps.baseline.tables import Table
from pytest_featuremaps.errors import BaselineError
from pytest_featuremaps.runs import invocation
from pytest_featuremaps.snapshots.extensions import TableExtension
from pytest_featuremaps.snapshots.options import ComparisonOptions

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.conv2(self.relu(self.conv1(x)))
"""
CONFTEST = """
import pytest
import torch
from net import Net


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def output(model):
    return model(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
"""
TESTS = """
import pytest


@pytest.mark.capture("**")
def test_table(output, feature_maps, feature_snapshot):
    assert feature_maps == feature_snapshot


@pytest.mark.capture("conv2")
def test_picture(output, feature_maps, feature_snapshot):
    assert feature_maps["conv2"] == feature_snapshot


def test_without_feature_maps(output):
    assert output.shape == (1, 4, 8, 8)
"""
NEW_TESTS = """
import pytest


@pytest.mark.capture("conv1")
def test_new_module(output, feature_maps, feature_snapshot):
    import new
    assert feature_maps == feature_snapshot


@pytest.mark.capture("conv3")
def test_new_layer(model, output, feature_maps, feature_snapshot):
    model.conv3(output)
    assert feature_maps == feature_snapshot


@pytest.mark.capture("conv1")
def test_new_comparison(model, output, feature_maps, feature_snapshot):
    if hasattr(model, "conv3"):
        assert feature_maps == feature_snapshot
"""
UNSEEDED = CONFTEST.replace("torch.manual_seed(0)", "torch.seed()")


class Project(Repository):
    """A repository with a network, whose tests are run."""

    def __init__(self, pytester, files):
        super().__init__(pytester.path)
        self.pytester = pytester
        self.write(files)
        self.commit("A network")
        self.head = f"HEAD ({self.git('rev-parse', '--short', 'HEAD')})"

    def run(self, *arguments, against="HEAD"):
        return self.pytester.runpytest("-q", f"--featuremaps-against={against}", *arguments)

    def recordings(self):
        folder = self.path / ".featuremaps/against/recordings"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def make(pytester, monkeypatch, tmp_path_factory):
    """Make a project; what its runs leave in the folder for temporary files is an error."""
    for variable in [one for one in os.environ if one.startswith("PYTEST_XDIST_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "160")
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield lambda files: Project(pytester, files)
    assert list(temporary.glob("featuremaps-*")) == []


@pytest.fixture
def project(make):
    return make({"net.py": NET, "conftest.py": CONFTEST, "test_it.py": TESTS})


def block(result, project):
    """The lines of the summary."""
    lines = result.outlines
    title = f" feature maps against {project.head} "
    start = next(place for place, line in enumerate(lines) if title in line)
    after = range(start + 1, len(lines))
    end = next(place for place in after if re.match(r"[-=]{5}|\d+ passed", lines[place]))
    told = "\n".join(lines[start + 1 : end])
    return re.sub(r"\d+\.\d s", "X s", told).splitlines()


def test_a_change_is_found_and_told_as_for_baselines(project):
    project.write({"__snapshots__/test_it/test_table.jsonl": "no table", "test_new.py": NEW_TESTS})
    project.write({"new.py": ""})
    project.change("net.py", "return self.conv2(self", "return self.conv2(2 * self")
    project.change(
        "net.py", "        self.relu", "        self.conv3 = nn.ReLU()\n        self.relu"
    )
    result = project.run()
    result.assert_outcomes(failed=2, passed=4)
    result.stdout.fnmatch_lines(
        [
            "E       assert conv2 changed first: relative L2 change *, allowed 0",
            "E         why: same weights*",
            "E         nothing after it; within tolerance: 2 of 3 maps",
            f"E         test_table.jsonl at {project.head}: the whole story is in *",
        ],
        consecutive=True,
    )
    result.stdout.fnmatch_lines(
        [
            f"-* feature baseline test_picture?conv2?.png at {project.head} -*",
            f"test_picture?conv2?.png at {project.head}: 1 of 1 map differs from the reference",
            "tolerance asked for: exact, as --featuremaps-against says",
            ".featuremaps/against/results/*/difference.png",
        ]
    )
    where = project.head
    assert block(result, project) == [
        "2 comparisons recorded in X s",
        f"2 failed tests, recorded twice at {where}, in X s more: the same bits, so the difference "
        "is this code's",
        f"test_new.py::test_new_module: no reference at {where}, because ModuleNotFoundError: "
        "No module named 'new'",
        f"test_new.py::test_new_layer: no reference at {where}, because "
        "Failed: capture(\"conv3\"): Net has no module 'conv3'.",
        f"test_new.py::test_new_comparison: no reference at {where}, because the test does not "
        "make this comparison there",
    ]
    assert "accept with" not in result.stdout.str()
    assert project.git("status", "--porcelain", "__snapshots__") == "?? __snapshots__/"
    stored = project.path / "__snapshots__/test_it"
    assert [path.read_text() for path in stored.iterdir()] == ["no table"]


def test_the_same_code_passes_and_is_recorded_once(project):
    result = project.run()
    result.assert_outcomes(passed=3)
    assert block(result, project) == ["2 comparisons recorded in X s"]
    again = project.run()
    again.assert_outcomes(passed=3)
    assert block(again, project) == ["2 comparisons recorded earlier, in X s"]
    # Whoever changes a module that the run loaded, or a test, has them recorded anew.
    (folder,) = (project.path / ".featuremaps/against/recordings").iterdir()
    record = json.loads((folder / "recording.json").read_text())
    assert cache.reusable(folder)
    record["stamps"][__file__] = [1, 2]
    (folder / "recording.json").write_text(json.dumps(record))
    assert cache.reusable(folder) is None
    assert (project.path / ".featuremaps/.gitignore").read_text() == "*\n"


def test_an_editable_install_and_workers(make, monkeypatch):
    """The finder of an editable install leads to the checkout, and must not."""
    project = make(
        {
            "pytest.ini": "[pytest]\npythonpath = src\n",
            "src/pkg/__init__.py": "",
            "src/pkg/net.py": NET,
            "tests/conftest.py": CONFTEST.replace("from net", "from pkg.net"),
            "tests/test_it.py": TESTS,
        }
    )
    finder = project.path.parent / "editable"
    finder.mkdir()
    (finder / "sitecustomize.py").write_text(EDITABLE.format(str(project.path / "src")))
    monkeypatch.setenv("PYTHONPATH", str(finder), prepend=os.pathsep)
    new = NEW_TESTS.replace("import new", "import pkg.new")
    project.write({"src/pkg/new.py": "", "tests/test_new.py": new})
    result = project.run("-n", "2", "-k", "table or module")
    result.assert_outcomes(passed=2)
    assert block(result, project) == [
        "1 comparison recorded in X s",
        f"tests/test_new.py::test_new_module: no reference at {project.head}, because "
        "ModuleNotFoundError: No module named 'pkg.new'",
    ]


EDITABLE = """
import sys
from importlib.util import spec_from_file_location
from pathlib import Path


class Finder:
    def find_spec(self, name, path=None, target=None):
        base = Path({!r}, *name.split("."))
        for file in (base / "__init__.py", base.with_suffix(".py")):
            if name.partition(".")[0] == "pkg" and file.exists():
                return spec_from_file_location(name, file)


sys.meta_path.append(Finder())
"""


def test_chance_is_told_from_a_change(make):
    project = make({"net.py": NET, "conftest.py": UNSEEDED, "test_it.py": TESTS})
    result = project.run("-p", "no:syrupy", "-k", "table")
    result.assert_outcomes(failed=1)
    told = block(result, project)
    assert told[1:2] == [
        f"1 failed test, recorded twice at {project.head}, in X s more: not the same bits, so the "
        "difference may be chance:"
    ]
    assert re.fullmatch(
        r"  test_it.py::test_table: conv1 moved by \S+ of its RMS, and 2 more maps", told[2]
    )
    assert (
        told[3] == "seed what a test draws, call model.eval(), or give the comparison a tolerance"
    )


def test_a_second_recording_without_the_comparison_proves_nothing(project, monkeypatch):
    project.change("net.py", "return self.conv2(self", "return self.conv2(2 * self")
    run = running.run
    monkeypatch.setattr(
        running, "run", lambda plan, folder, only=None: run(plan, folder, only and ["no test"])
    )
    result = project.run("-k", "table")
    result.assert_outcomes(failed=1)
    assert block(result, project)[1:] == [
        "test_it.py::test_table compared nothing when it was recorded a second time"
    ]


def test_a_tolerance_of_the_command_line_holds(project):
    project.change("net.py", "return self.conv2(self", "return self.conv2((1 + 1e-6) * self")
    project.run("-k", "table", "--featuremaps-tolerance=cpu").assert_outcomes(passed=1)


# --- what cannot be compared --------------------------------------------------------------------


def refusal(result):
    """The lines of a usage error."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = result.errlines
    start = next(place for place, line in enumerate(lines) if line.startswith("ERROR: "))
    return [line for line in lines[start:] if line]


def test_nothing_that_could_run_is_an_error(project):
    project.change("net.py", "class Net", "class Other: pass\n\nclass Net")
    project.change("test_it.py", "import pytest", "import pytest\nfrom net import Other")
    told = refusal(project.run())
    told[2] = re.sub(r"\(.*/net", "(*/net", told[2])
    assert told == [
        "ERROR: --featuremaps-against=HEAD: no selected test made a comparison with "
        f"feature_snapshot at {project.head}.",
        "There, these did not pass:",
        "  test_it.py: ImportError: cannot import name 'Other' from 'net' (*/net.py)",
    ]
    assert project.recordings() == []


LATE = """
import pytest


@pytest.mark.capture("**")
def test_known(output, feature_maps, feature_snapshot):
    assert feature_maps == feature_snapshot


@pytest.mark.capture("**")
def test_late(output, feature_maps, request):
    assert feature_maps == request.getfixturevalue("feature_snapshot")
"""


def test_who_asks_for_a_baseline_only_while_it_runs_is_told(make):
    project = make({"net.py": NET, "conftest.py": CONFTEST, "test_it.py": LATE})
    project.change("net.py", "nn.ReLU()", "nn.GELU()")
    result = project.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_late asks for feature_snapshot only while it runs, and "
            "--featuremaps-against has to know before which tests compare.",
            "Make feature_snapshot an argument of the test, or of a fixture that it uses.",
        ],
        consecutive=True,
    )


def test_a_subtest_that_passes_is_no_second_run():
    noted = comparing.Comparing(plan=None, source=None)
    told = [("setup", []), ("call", ["feature baseline t.jsonl"]), ("call", []), ("teardown", [])]
    for when, titles in told:
        sections = [(title, "") for title in titles]
        noted.pytest_runtest_logreport(
            SimpleNamespace(nodeid="t", when=when, sections=sections, user_properties=[])
        )
    assert list(noted._failed) == ["t"]
    noted.pytest_runtest_logreport(
        SimpleNamespace(nodeid="t", when="setup", sections=[], user_properties=[])
    )
    assert list(noted._failed) == []


PLAIN = """
import pkg.net


def test_it(feature_snapshot):
    pass
"""


@pytest.fixture
def plain(make):
    """A project whose tests load no torch, nor compare anything."""
    return make(
        {
            "pytest.ini": "[pytest]\npythonpath = python",
            "python/pkg/__init__.py": "",
            "python/pkg/net.py": "old = 1",
            "tests/test_it.py": PLAIN,
        }
    )


def install(project, monkeypatch):
    """Install a copy of the project's package, and return its folder."""
    folder = project.path.parent / "site-packages"
    (folder / "pkg").mkdir(parents=True)
    for name in ("__init__.py", "net.py"):
        text = (project.path / "python/pkg" / name).read_text()
        (folder / "pkg" / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    return folder


def test_an_installed_copy_would_be_compared_with_itself(plain, monkeypatch):
    folder = install(plain, monkeypatch)
    plain.write({"pytest.ini": "[pytest]"})
    assert refusal(plain.run()) == [
        f"ERROR: --featuremaps-against=HEAD: the reference would not be {plain.head}: its run "
        f"loaded pkg from {folder}/pkg/__init__.py (and 1 more).",
        "That is an installed copy; the repository has it as python/pkg/__init__.py. Put the "
        "folder it is imported from on the import path, with the ini option `pythonpath`.",
    ]
    # The way out: pkg is the revision's then, and only a comparison is missing.
    plain.write({"pytest.ini": "[pytest]\npythonpath = python"})
    assert refusal(plain.run()) == [
        "ERROR: --featuremaps-against=HEAD: no selected test made a comparison with "
        f"feature_snapshot at {plain.head}.",
    ]


def test_a_module_loaded_by_its_path_in_the_checkout(plain):
    file = plain.path / "python/pkg/net.py"
    plain.write({"tests/test_it.py": LOADED_BY_PATH.format(str(file))})
    assert refusal(plain.run()) == [
        f"ERROR: --featuremaps-against=HEAD: the reference would not be {plain.head}: its run "
        f"loaded by_path from {file}.",
        "Something loads it by that path: let it take a path relative to its own file.",
    ]


LOADED_BY_PATH = """
import importlib.util
import sys

spec = importlib.util.spec_from_file_location("by_path", {!r})
sys.modules["by_path"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["by_path"])
"""


def test_a_run_that_breaks_down_shows_its_end(plain):
    plain.write(
        {
            "conftest.py": "import os\n"
            "if 'PYTEST_FEATUREMAPS_INSTRUCTIONS' in os.environ: os._exit(9)"
        }
    )
    assert refusal(plain.run()) == [
        f"ERROR: --featuremaps-against=HEAD: the run at {plain.head} broke down with exit status "
        "9. It said last:",
    ]
    assert plain.recordings() == []


def test_what_cannot_be_compared_is_an_error_without_a_reference_as_well(make):
    tests = (
        TESTS
        + """

@pytest.mark.capture("conv1", keep="shapes")
def test_shapes(output, feature_maps, feature_snapshot):
    assert feature_maps["conv1"] == feature_snapshot
"""
    )
    project = make({"net.py": NET, "conftest.py": CONFTEST, "test_it.py": tests})
    project.run("-k", "table or shapes").assert_outcomes(passed=1, failed=1)


def test_an_update_is_a_usage_error(plain):
    assert refusal(plain.run("--snapshot-update")) == [
        "ERROR: --featuremaps-against=HEAD compares with a revision and writes no baselines; "
        "--snapshot-update writes them. Take one of the two away.",
    ]


def test_an_unknown_revision_is_a_usage_error(plain):
    assert refusal(plain.run(against="mian")) == [
        "ERROR: --featuremaps-against=mian: git knows no revision 'mian'.",
        "Did you mean main?",
    ]


def test_nothing_is_recorded_where_nothing_runs(plain):
    plain.run("--collect-only").assert_outcomes()
    plain.write({"tests/test_broken.py": "import nowhere"})
    plain.run().assert_outcomes(errors=1)
    assert not (plain.path / ".featuremaps").exists()


SLOW = """
import os, time
if "PYTEST_FEATUREMAPS_INSTRUCTIONS" in os.environ:
    time.sleep(60)
"""

# Who was started in the background ignores Ctrl-C, and so would its children.
HEARING = """
import signal, sys
import pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(plain, monkeypatch, number):
    plain.write({"conftest.py": SLOW})
    temporary = Path(tempfile.gettempdir())
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = subprocess.Popen(  # noqa: S603 - the run under test
        [sys.executable, "-c", HEARING, "-q", "--featuremaps-against=HEAD"],
        cwd=plain.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while (
        not list(temporary.glob("featuremaps-*/instructions.json")) and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert "KeyboardInterrupt" in output
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert list(temporary.iterdir()) == []
    assert plain.recordings() == []


# --- the parts ----------------------------------------------------------------------------------


def test_the_run_at_a_revision_records_and_agrees_with_all(project, monkeypatch, tmp_path):
    project.write({"test_bad.py": "import nowhere", "test_skipped.py": SKIPPED})
    told = instructions.Instructions(
        str(tmp_path / "checkout"), str(project.path), str(tmp_path), ["net.py"]
    )
    told.write(tmp_path / "instructions.json")
    monkeypatch.setenv(invocation.INSTRUCTIONS, str(tmp_path / "instructions.json"))
    result = project.pytester.runpytest("--continue-on-collection-errors", "-p", "no:xdist")
    result.assert_outcomes(passed=2, errors=1, skipped=1, deselected=1)
    references = References(tmp_path)
    assert references.comparisons() == [
        ("test_it.py::test_picture", "test_picture[conv2].png"),
        ("test_it.py::test_table", "test_table.jsonl"),
    ]
    assert references.get("test_it.py::test_picture", "test_picture[conv2].png")[:4] == b"\x89PNG"
    (seen,) = tmp_path.glob("seen-*.json")
    facts = json.loads(seen.read_text())
    assert facts["reasons"] == {
        "test_bad.py": "ModuleNotFoundError: No module named 'nowhere'",
        "test_skipped.py::test_skipped": "Skipped: not here",
    }
    assert facts["strays"] == []
    assert facts["sources"]["net"] == "net.py"
    assert str(Path(pytest.__file__)) in facts["stamps"]


SKIPPED = """
import pytest

def test_skipped(feature_snapshot):
    pytest.skip("not here")
"""


def test_only_the_named_tests_run_a_second_time(project, monkeypatch, tmp_path):
    told = instructions.Instructions(
        str(tmp_path / "c"), str(project.path), str(tmp_path), [], only=["test_it.py::test_table"]
    )
    told.write(tmp_path / "instructions.json")
    monkeypatch.setenv(invocation.INSTRUCTIONS, str(tmp_path / "instructions.json"))
    project.pytester.runpytest("-p", "no:xdist").assert_outcomes(passed=1, deselected=2)


def plan(project, **others):
    """What would be run at a revision of this project."""
    repository = revision.find(project.path)
    facts = {
        "repository": repository,
        "revision": repository.revision("HEAD"),
        "root": project.path,
        "directory": project.path,
        "arguments": ["-k", "table"],
        "own": [],
        "options": [],
        "configuration": None,
        "tests": ["conftest.py", "test_it.py"],
        "rule": Rule(["test_*.py"], [], PurePosixPath()),
    }
    return planning.Plan(**facts | others)


def test_a_recording_depends_on_revision_tests_arguments_and_environment(project, monkeypatch):
    key = plan(project).key()
    assert plan(project).key() == key
    project.change("net.py", "conv1", "first")
    assert plan(project).key() == key
    assert plan(project, arguments=[]).key() != key
    assert plan(project, own=["--randomly-seed=1"]).key() != key
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "17")
        assert plan(project).key() != key
    project.change("test_it.py", "conv2", "conv1")
    assert plan(project).key() != key
    project.change("test_it.py", "conv1", "conv2")
    project.commit()
    assert plan(project).key() != key


def judged(project, comparisons, sources):
    recording = RecordedRun(1.0, comparisons, sources=sources)
    with pytest.raises(refusals.AgainstError) as caught:
        refusals.judge(plan(project), recording)
    return str(caught.value)


def test_a_reference_without_code_of_the_revision_is_none(project):
    comparisons = [("test_it.py::test_table", "test_table.jsonl")]
    assert judged(project, comparisons, {}) == (
        f"nothing that the tests loaded came from {project.head}: it was test code of this "
        "checkout and installed packages only, so that nothing could differ.\n"
        "The code under test has to lie outside of what counts as tests: conftest.py, files that "
        "pytest collects, and folders called test or tests."
    )


def test_tests_in_a_file_that_counts_as_code_under_test(project):
    assert judged(project, [("checks.py::test_it", "test_it.jsonl")], {"net": "net.py"}) == (
        "checks.py holds tests, but by its name it counts as code under test, so that the tests "
        f"of {project.head} would run in place of these.\n"
        "Say that it is test code with the ini option `featuremaps_test_files`."
    )


def test_the_newest_recordings_are_kept(tmp_path):
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        os.utime(tmp_path / str(number), (number, number))
    cache._forget(tmp_path)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(4, 12))


def test_paths_in_arguments_are_turned_to_the_tree():
    border = Border(Path("/code/net"), Path("/made/net"))
    turned = {
        "/code/net": "/made/net",
        "--rootdir=/code/net": "--rootdir=/made/net",
        "/code/net/tests/test_it.py::test_it[/code/net]": (
            "/made/net/tests/test_it.py::test_it[/code/net]"
        ),
        "/code/network/tests": "/code/network/tests",
        "-k": "-k",
        "tests": "tests",
    }
    assert {one: running._mapped(border, one) for one in turned} == turned


def test_arguments_from_outside_the_repository_become_absolute(tmp_path):
    (tmp_path / "tests").mkdir()
    place = planning._absolute
    assert place(tmp_path, "tests") == f"{tmp_path}/tests"
    assert place(tmp_path, "tests::test_it") == f"{tmp_path}/tests::test_it"
    assert place(tmp_path, "--tests") == "--tests"
    assert place(tmp_path, "nowhere") == "nowhere"


TEST = SimpleNamespace(
    nodeid="test_it.py::test_it",
    filepath="/code/test_it.py",
    basename="test_it",
    snapshot_name="test_it",
    nodename="test_it",
)


def compared_with(tmp_path, recording):
    return stores.ReferenceStore(
        references=References(tmp_path),
        recording=recording,
        location=TEST,
        revision="main",
        checkout=tmp_path,
        miss=pytest.fail,
    )


def test_a_reference_that_another_process_took_away_is_an_error(tmp_path):
    one = compared_with(tmp_path, RecordedRun(1.0, [[TEST.nodeid, "test_it.jsonl"]]))
    with pytest.raises(BaselineError) as caught:
        one.compare(TableExtension, Table({}, ()), "", ComparisonOptions())
    assert str(caught.value) == "The reference of test_it.jsonl is gone: run the test again."
    with pytest.raises(pytest.fail.Exception, match="the test does not make this comparison there"):
        one.compare(TableExtension, Table({}, ()), "[other]", ComparisonOptions())


def test_an_installed_copy_that_is_not_the_checkouts_is_an_error(tmp_path, monkeypatch):
    made = ModuleType("made_pkg")
    made.__file__ = __file__
    monkeypatch.setitem(sys.modules, "made_pkg", made)
    one = compared_with(tmp_path, RecordedRun(1.0, [], sources={"made_pkg": "src/made_pkg.py"}))
    with pytest.raises(BaselineError) as caught:
        one.compare(TableExtension, Table({}, ()), "", ComparisonOptions())
    assert str(caught.value) == (
        f"made_pkg was loaded from {__file__}, which is not what the checkout has in "
        "src/made_pkg.py: a change there would not be seen.\n"
        "Install the project as it is now, best as an editable install (pip install -e)."
    )


def test_why_there_is_no_reference_is_told_by_what_holds_the_test(tmp_path):
    reasons = {"test_it.py": "of the file", "test_it.py::test_it": "of the test", "test_it": "?"}
    assert compared_with(tmp_path, RecordedRun(1.0, [], reasons))._why() == "of the test"
    del reasons["test_it.py::test_it"]
    assert compared_with(tmp_path, RecordedRun(1.0, [], reasons))._why() == "of the file"


def test_a_recording_that_cannot_be_read_is_none(tmp_path):
    assert References(tmp_path).recorded_run() is None
    (tmp_path / "recording.json").write_text('{"seconds": 1.0, "unknown": 2}')
    assert References(tmp_path).recorded_run() is None
    with pytest.raises(LookupError, match="is gone, or not complete"):
        _ = comparing.ReferenceSource(str(tmp_path), "main", ".").recording
