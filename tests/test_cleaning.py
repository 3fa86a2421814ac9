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
}
STOPS = {"exitfirst": ["-x"], "maxfail": ["--maxfail=1"]}
BROKEN = {
    "skipped at import": "import pytest; pytest.importorskip('no_such_module')",
    "broken at import": "1 / 0",
}
# With workers, too: what a controller knows, it knows from them.
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])


@pytest.fixture
def project(pytester, write):
    class Project:
        folder = pytester.path / "__snapshots__" / "test_it"
        path = pytester.path / "test_it.py"

        def write(self, before="pass", **files):
            write(RECORDED.format(before=before), **files)

        def update(self, *arguments):
            return pytester.runpytest(
                "-p", "no:cacheprovider", "--snapshot-update", *arguments, no_reraise_ctrlc=True
            )

        def stored(self):
            return sorted(path.name for path in self.folder.iterdir())

    one = Project()
    one.write()
    one.update().assert_outcomes(passed=2)
    assert one.stored() == ["test_first.jsonl", "test_second.jsonl", "test_second[relu].png"]
    return one


@WORKERS
@pytest.mark.parametrize("before", ENDINGS.values(), ids=list(ENDINGS))
def test_nothing_is_deleted_when_a_test_does_not_get_to_its_baseline(project, before, workers):
    before_update = project.stored()
    project.write(before)
    project.update(*workers)
    assert project.stored() == before_update


@WORKERS
@pytest.mark.parametrize("arguments", SELECTIONS.values(), ids=list(SELECTIONS))
def test_nothing_is_deleted_when_tests_are_selected(project, pytester, arguments, workers):
    before_update = project.stored()
    pytester.makeini("[pytest]\nmarkers = slow: takes long\n")
    project.write()
    text = project.path.read_text()
    at = text.rindex("@pytest.mark.capture")
    project.path.write_text(f"{text[:at]}@pytest.mark.slow\n{text[at:]}")
    project.update(*arguments, *workers)
    assert project.stored() == before_update


@WORKERS
@pytest.mark.parametrize("arguments", STOPS.values(), ids=list(STOPS))
def test_nothing_is_deleted_when_the_run_stops_before_a_test(project, pytester, arguments, workers):
    before_update = project.stored()
    pytester.makepyfile(test_before="def test_it(): assert False")
    project.update("test_before.py", "test_it.py", *arguments, *workers)
    assert project.stored() == before_update


@WORKERS
@pytest.mark.parametrize("first", BROKEN.values(), ids=list(BROKEN))
def test_nothing_is_deleted_when_a_module_is_skipped_or_broken_at_import(
    project, pytester, first, workers
):
    before_update = project.stored()
    project.path.write_text(f"{first}\n{project.path.read_text()}")
    pytester.makepyfile(test_other="def test_it(): pass")
    project.update(*workers)
    project.update(*workers, "--continue-on-collection-errors")
    assert project.stored() == before_update


@WORKERS
def test_nothing_is_deleted_when_a_fixture_fails(project, workers):
    before_update = project.stored()
    project.write(conftest="\n@pytest.fixture\ndef output():\n    raise RuntimeError('no model')\n")
    project.update(*workers).assert_outcomes(errors=2)
    assert project.stored() == before_update


def test_nothing_is_deleted_when_a_worker_crashes(project):
    before_update = project.stored()
    project.write("import os; os._exit(1)")
    result = project.update("-n", "2")
    result.stdout.fnmatch_lines(["*worker * crashed while running 'test_it.py::test_second'*"])
    assert project.stored() == before_update


def test_nothing_is_deleted_when_a_test_fails_that_passed_before_it_ran_again(project, pytester):
    before_update = project.stored()
    project.write("assert False")
    project.update("--reruns", "1").assert_outcomes(passed=1, failed=1)
    assert project.stored() == before_update


@WORKERS
def test_nothing_is_deleted_when_a_conftest_deselects(project, workers):
    before_update = project.stored()
    project.write(
        conftest="""
def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=items[1:])
    del items[1:]
"""
    )
    project.update(*workers)
    assert project.stored() == before_update


WORKERS_REPORT = pytest.mark.skipif(
    metadata.version("syrupy") < "5.5", reason="syrupy before 5.5 finds no orphan under xdist"
)


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "2"], marks=WORKERS_REPORT)])
def test_a_true_orphan_goes_after_a_complete_clean_run(project, arguments):
    project.path.write_text(project.path.read_text().replace("def test_second", "def test_renamed"))
    project.update(*arguments).assert_outcomes(passed=2)
    assert project.stored() == [
        "test_first.jsonl",
        "test_renamed.jsonl",
        "test_renamed[relu].png",
    ]
