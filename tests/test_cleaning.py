"""An update deletes no baseline of a test that did not get to it, and a true orphan goes."""

from importlib import metadata

import pytest

RECORDED = """
@pytest.mark.capture("relu")
def test_first(output, feature_maps, feature_snapshot):
    assert feature_maps == feature_snapshot

@pytest.mark.capture("relu")
def test_second(output, feature_maps, feature_snapshot):
    {before}
    assert feature_maps == feature_snapshot
    assert feature_maps["relu"] == feature_snapshot
"""

ENDINGS = {
    "fail": "assert False",
    "error": "raise ValueError",
    "skip": "pytest.skip('not here')",
    "expected failure": "pytest.xfail('some day')",
    "interrupt": "raise KeyboardInterrupt",
    "exit": "pytest.exit('now')",
}
SELECTIONS = {
    "keyword": ["-k", "first"],
    "mark": ["-m", "not slow"],
    "node id": ["test_it.py::test_first"],
    "deselect": ["--deselect", "test_it.py::test_second"],
    "ignore": ["--ignore", "test_it.py", "."],
    "collect only": ["--collect-only"],
    "setup only": ["--setup-only"],
    "names of functions": ["-o", "python_functions=test_first"],
    "names of files": ["--override-ini=python_files=test_other.py"],
}
STOPS = {"exitfirst": ["-x"], "maxfail": ["--maxfail=1"]}
BROKEN = {
    "skipped at import": "import pytest; pytest.importorskip('no_such_module')",
    "broken at import": "1 / 0",
}


# Workers take a second each to load torch, and cleaning up is the same for whatever syrupy stores.
PLAIN = """
from syrupy.extensions.single_file import SingleFileSnapshotExtension as Single

def test_first(output, snapshot):
    assert output == snapshot(extension_class=Single)

def test_second(output, snapshot):
    {before}
    assert output == snapshot(extension_class=Single)
    assert output == snapshot(extension_class=Single)
"""
PLAIN_CONFTEST = """
import pytest

@pytest.fixture
def output():
    return b"output"
"""


class Project:
    def __init__(self, pytester, write, workers=()):
        self.path = pytester.path / "test_it.py"
        self._pytester = pytester
        self._write = write
        self._workers = workers

    def write(self, before="pass", conftest=""):
        if self._workers:
            self._pytester.makeconftest(PLAIN_CONFTEST + conftest)
            self.path.write_text("import pytest\n" + PLAIN.format(before=before))
        else:
            self._write(RECORDED.format(before=before), conftest=conftest)

    def update(self, *arguments):
        return self._run(*self._workers, *arguments)

    def _run(self, *arguments):
        always = ("-p", "no:cacheprovider", "-p", "no:torch", "--snapshot-update")
        return self._pytester.runpytest(*always, *arguments, no_reraise_ctrlc=True)

    def stored(self):
        folder = self._pytester.path / "__snapshots__" / "test_it"
        return sorted(path.name for path in folder.iterdir())

    def record(self):
        self.write()
        self._run().assert_outcomes(passed=2)
        assert len(self.stored()) == 3


@pytest.fixture(params=[(), ("-n", "2")], ids=["alone", "workers"])
def project(request, pytester, write):
    """A project whose baselines are recorded, run by one process and by workers."""
    one = Project(pytester, write, request.param)
    one.record()
    return one


@pytest.mark.parametrize("before", ENDINGS.values(), ids=list(ENDINGS))
def test_nothing_is_deleted_when_a_test_does_not_get_to_its_baseline(project, before):
    before_update = project.stored()
    project.write(before)
    project.update()
    assert project.stored() == before_update


@pytest.mark.parametrize("arguments", SELECTIONS.values(), ids=list(SELECTIONS))
def test_nothing_is_deleted_when_tests_are_selected(project, pytester, arguments):
    before_update = project.stored()
    pytester.makeini("[pytest]\nmarkers = slow: takes long\n")
    project.write()
    marked = "@pytest.mark.slow\ndef test_second"
    project.path.write_text(project.path.read_text().replace("def test_second", marked))
    pytester.makepyfile(test_other="def test_it(): pass")
    project.update(*arguments)
    assert project.stored() == before_update


@pytest.mark.parametrize("arguments", STOPS.values(), ids=list(STOPS))
def test_nothing_is_deleted_when_the_run_stops_before_a_test(project, pytester, arguments):
    before_update = project.stored()
    pytester.makepyfile(test_before="def test_it(): assert False")
    project.update("test_before.py", "test_it.py", *arguments)
    assert project.stored() == before_update


@pytest.mark.parametrize("first", BROKEN.values(), ids=list(BROKEN))
def test_nothing_is_deleted_when_a_module_is_skipped_or_broken_at_import(project, pytester, first):
    before_update = project.stored()
    project.path.write_text(f"{first}\n{project.path.read_text()}")
    pytester.makepyfile(test_other="def test_it(): pass")
    project.update("--continue-on-collection-errors")
    assert project.stored() == before_update


def test_nothing_is_deleted_when_a_fixture_fails(project):
    before_update = project.stored()
    project.write(conftest="\n@pytest.fixture\ndef output():\n    raise RuntimeError('no model')\n")
    project.update().assert_outcomes(errors=2)
    assert project.stored() == before_update


def test_nothing_is_deleted_when_a_worker_crashes(pytester, write):
    project = Project(pytester, write, ("-n", "2"))
    project.record()
    before_update = project.stored()
    project.write("import os; os._exit(1)")
    # syrupy may warn of what the new worker had no time to collect; here that would be an error.
    result = project.update("-W", "ignore::UserWarning")
    result.stdout.fnmatch_lines(["*worker * crashed while running 'test_it.py::test_second'*"])
    assert project.stored() == before_update


def test_nothing_is_deleted_when_a_test_fails_that_passed_before_it_ran_again(project, pytester):
    before_update = project.stored()
    project.write("assert False")
    project.update("--reruns", "1").assert_outcomes(passed=1, failed=1)
    assert project.stored() == before_update


DESELECTING = {
    "deselected": """
def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=items[1:])
    del items[1:]
""",
    "taken away": """
def pytest_collection_modifyitems(items):
    items[:] = items[:1]
""",
    "taken away first": """
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    del items[1:]
""",
}


@pytest.mark.parametrize("conftest", DESELECTING.values(), ids=list(DESELECTING))
def test_nothing_is_deleted_when_a_conftest_deselects(project, conftest):
    before_update = project.stored()
    project.write(conftest=conftest)
    assert project.update().parseoutcomes()["passed"] == 1
    assert project.stored() == before_update


WORKERS_REPORT = pytest.mark.skipif(
    metadata.version("syrupy") < "5.5", reason="syrupy before 5.5 finds no orphan under xdist"
)


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "2"], marks=WORKERS_REPORT)])
def test_a_true_orphan_goes_after_a_complete_clean_run_only(pytester, write, arguments):
    project = Project(pytester, write)
    project.record()
    before_update = project.stored()
    project.write("assert False")
    project.update(*arguments).assert_outcomes(passed=1, failed=1)
    assert project.stored() == before_update
    project.write()
    project.path.write_text(project.path.read_text().replace("def test_second", "def test_renamed"))
    project.update(*arguments).assert_outcomes(passed=2)
    assert project.stored() == [
        "test_first.jsonl",
        "test_renamed.jsonl",
        "test_renamed[relu].png",
    ]
