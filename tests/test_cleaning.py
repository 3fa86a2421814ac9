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
    "-k": ["-k", "first"],
    "node id": ["test_it.py::test_first"],
    "deselect": ["--deselect", "test_it.py::test_second"],
    "stop": ["-x"],
}


@pytest.fixture
def project(pytester, write):
    class Project:
        folder = pytester.path / "__snapshots__" / "test_it"

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
    assert len(one.stored()) == 3
    return one


@pytest.mark.parametrize("before", ENDINGS.values(), ids=list(ENDINGS))
def test_nothing_is_deleted_when_a_test_does_not_get_to_its_baseline(project, before):
    before_update = project.stored()
    project.write(before)
    project.update()
    assert project.stored() == before_update


@pytest.mark.parametrize("before", ["assert False", "pytest.skip('not here')"])
def test_nothing_is_deleted_by_workers_either(project, before):
    before_update = project.stored()
    project.write(before)
    project.update("-n", "2")
    assert project.stored() == before_update


@pytest.mark.parametrize("arguments", SELECTIONS.values(), ids=list(SELECTIONS))
def test_nothing_is_deleted_when_tests_are_selected(project, arguments):
    before_update = project.stored()
    project.write()
    project.update(*arguments)
    assert project.stored() == before_update


def test_nothing_is_deleted_when_a_module_is_skipped_or_broken_at_import(project, pytester):
    before_update = project.stored()
    path = pytester.path / "test_it.py"
    text = path.read_text()
    pytester.makepyfile(test_other="def test_it(): pass")
    for first in ("import pytest; pytest.importorskip('no_such_module')", "1 / 0"):
        path.write_text(f"{first}\n{text}")
        project.update()
        assert project.stored() == before_update


def test_nothing_is_deleted_when_a_fixture_fails(project):
    before_update = project.stored()
    project.write(conftest="\n@pytest.fixture\ndef output():\n    raise RuntimeError('no model')\n")
    project.update().assert_outcomes(errors=2)
    assert project.stored() == before_update


def test_nothing_is_deleted_when_a_conftest_deselects_in_a_worker(project):
    before_update = project.stored()
    project.write(
        conftest="""
def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=items[1:])
    del items[1:]
"""
    )
    for arguments in ([], ["-n", "2"]):
        project.update(*arguments)
        assert project.stored() == before_update


WORKERS_REPORT = pytest.mark.skipif(
    metadata.version("syrupy") < "5.5", reason="syrupy before 5.5 finds no orphan under xdist"
)


@pytest.mark.parametrize("arguments", [[], pytest.param(["-n", "2"], marks=WORKERS_REPORT)])
def test_a_true_orphan_goes_after_a_complete_clean_run(project, pytester, arguments):
    path = pytester.path / "test_it.py"
    path.write_text(path.read_text().replace("def test_second", "def test_renamed"))
    project.update(*arguments).assert_outcomes(passed=2)
    assert project.stored() == [
        "test_first.jsonl",
        "test_renamed.jsonl",
        "test_renamed[relu].png",
    ]
