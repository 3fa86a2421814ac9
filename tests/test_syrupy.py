"""Every release of syrupy that is supported calls what is overridden, and is what users know."""

import inspect
import sys
from importlib import metadata

import pytest

from pytest_featuremaps.snapshots.extensions import Extension, PictureExtension, TableExtension

SYRUPY = tuple(map(int, metadata.version("syrupy").split(".")[:2]))
TABLE = "__snapshots__/test_it/test_table.jsonl"

BODY = """
from pytest_featuremaps.snapshots.extensions import TableExtension
from pytest_featuremaps.maps.feature_maps import view_of
from pytest_featuremaps.maps.measuring import table

@pytest.mark.capture("relu")
def test_table(output, feature_maps, feature_snapshot):
    feature_maps["relu"].tensor.mul_({gain})
    assert feature_maps == feature_snapshot

@pytest.mark.capture("relu")
def test_picture(output, feature_maps, feature_snapshot):
    feature_maps["relu"].tensor.mul_({gain})
    assert feature_maps["relu"] == feature_snapshot

@pytest.mark.capture("relu")
def test_syrupys_own_fixture(output, feature_maps, snapshot):
    feature_maps["relu"].tensor.mul_({gain})
    assert table(view_of(feature_maps)) == snapshot.use_extension(TableExtension)
"""


@pytest.fixture
def project(pytester, write):
    class Project:
        folder = pytester.path / "__snapshots__" / "test_it"
        table = pytester.path / TABLE

        def write(self, gain=1, body=BODY):
            write(body.replace("{gain}", str(gain)))

        def run(self, *arguments):
            return pytester.runpytest("-p", "no:cacheprovider", "-p", "no:torch", *arguments)

        def record(self):
            self.write()
            self.run("--snapshot-update").assert_outcomes(passed=3)
            return self.stored()

        def stored(self):
            return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    return Project()


# --- canaries -----------------------------------------------------------------------------------

OVERRIDES = {
    "serialize": (TableExtension, PictureExtension),
    "get_snapshot_name": (Extension,),
    "read_snapshot_data_from_location": (Extension,),
    "write_snapshot_collection": (Extension,),
    "matches": (Extension,),
    "diff_lines": (Extension,),
    "matches_test_location": (Extension,),
}


@pytest.fixture
def called(monkeypatch):
    """Note each override of ours that a function of syrupy's calls, by class and name."""
    names = set()

    def watch(kind, name):
        found = inspect.getattr_static(kind, name)
        function = found.__func__ if isinstance(found, classmethod) else found

        def watched(*args, **kwargs):
            if sys._getframe(1).f_globals["__name__"].startswith("syrupy."):
                names.add(f"{kind.__name__}.{name}")
            return function(*args, **kwargs)

        monkeypatch.setattr(kind, name, type(found)(watched) if function is not found else watched)

    for name, kinds in OVERRIDES.items():
        for kind in kinds:
            watch(kind, name)
    return names


def test_syrupy_calls_every_override(project, called):
    project.record()
    assert {
        "TableExtension.serialize",
        "PictureExtension.serialize",
        "Extension.get_snapshot_name",
        "Extension.read_snapshot_data_from_location",
        "Extension.write_snapshot_collection",
    } <= called
    assert "Extension.matches" not in called  # there was nothing to match
    called.clear()
    project.run().assert_outcomes(passed=3)
    assert "Extension.matches" in called
    assert "Extension.write_snapshot_collection" not in called
    project.write(gain=2)
    called.clear()
    result = project.run()
    result.assert_outcomes(failed=3)
    assert {"Extension.matches", "Extension.diff_lines"} <= called
    result.stdout.fnmatch_lines(["E * relu changed: relative L2 change *, allowed 1.0e-04"])


@pytest.mark.skipif(SYRUPY < (7, 0), reason="syrupy before 7.0 does not ask whose a file is")
def test_syrupy_asks_whose_a_file_is(project, called):
    project.record()
    called.clear()
    project.run("test_it.py").assert_outcomes(passed=3)
    assert "Extension.matches_test_location" in called


def test_every_override_has_a_canary():
    of_syrupy = set(dir(Extension.__mro__[1]))
    for kind in (Extension, TableExtension, PictureExtension):
        own = {name for name, value in vars(kind).items() if inspect.isroutine(value)}
        assert own & (of_syrupy | {"matches_test_location"}) <= set(OVERRIDES) | {"__init__"}


def test_the_extensions_are_found_by_their_names(project):
    body = BODY.partition("@pytest")[0] + (
        '@pytest.mark.capture("relu")\n'
        "def test_table(output, feature_maps, snapshot):\n"
        "    assert table(view_of(feature_maps)) == snapshot\n"
    )
    project.write(body=body)
    option = "--snapshot-default-extension=pytest_featuremaps.snapshots.extensions.TableExtension"
    project.run(option, "--snapshot-update").assert_outcomes(passed=1)
    project.run(option).assert_outcomes(passed=1)
    assert list(project.stored()) == ["test_table.jsonl"]


# --- what users of syrupy know ------------------------------------------------------------------

WORKERS = pytest.mark.parametrize(
    "workers",
    [
        (),
        pytest.param(
            ("-n", "2"),
            marks=pytest.mark.skipif(
                SYRUPY < (5, 5), reason="syrupy before 5.5 counts nothing under xdist"
            ),
        ),
    ],
    ids=["alone", "workers"],
)


def summary(result):
    """The lines of syrupy's report."""
    lines = [line.strip() for line in result.outlines]
    start = next(i for i, line in enumerate(lines) if "snapshot report summary" in line)
    rest = lines[start + 1 :]
    end = next(i for i, line in enumerate(rest) if line.startswith("==="))
    return [line for line in rest[:end] if line]


@WORKERS
def test_what_was_generated_updated_passed_and_failed_is_counted(project, workers):
    project.write()
    assert summary(project.run("--snapshot-update", *workers)) == ["3 snapshots generated."]
    project.write(gain=2)
    assert summary(project.run(*workers))[0] == "3 snapshots failed."
    assert summary(project.run("--snapshot-update", *workers)) == ["3 snapshots updated."]
    assert summary(project.run(*workers)) == ["3 snapshots passed."]


@WORKERS
def test_new_ones_only(project, workers):
    before = project.record()
    project.write(gain=2)
    project.table.unlink()
    result = project.run("--snapshot-update-new-only", *workers)
    result.assert_outcomes(passed=1, failed=2)
    assert summary(result)[0] == "2 snapshots failed. 1 snapshot generated."
    after = project.stored()
    assert [name for name in before if before[name] != after[name]] == ["test_table.jsonl"]


@WORKERS
def test_unused_ones_fail_the_run_are_named_and_go_with_an_update(project, workers):
    before = project.record()
    project.write(body=BODY.replace("def test_picture", "def renamed_test"))
    result = project.run("--snapshot-details", *workers)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = summary(result)
    assert told[0] == "2 snapshots passed. 1 snapshot unused."
    assert any(line.startswith("Unused ") and "test_picture[relu]" in line for line in told), told
    assert project.run("--snapshot-warn-unused", *workers).ret == pytest.ExitCode.OK
    assert project.stored() == before
    project.run("--snapshot-update", "--snapshot-no-cleanup", *workers)
    assert project.stored() == before
    assert summary(project.run("--snapshot-update", *workers))[0] == (
        "2 snapshots passed. 1 unused snapshot deleted."
    )
    assert set(before) - set(project.stored()) == {"test_picture[relu].png"}


def test_details_name_what_an_update_wrote(project):
    project.record()
    project.write(gain=2)
    told = summary(project.run("--snapshot-update", "--snapshot-details"))
    assert any(line.startswith("Updated test_table") for line in told), told


def test_another_folder_is_used_where_it_is_asked_for(project, pytester):
    project.write()
    elsewhere = ("--snapshot-dirname", "baselines")
    project.run("--snapshot-update", *elsewhere).assert_outcomes(passed=3)
    project.run(*elsewhere).assert_outcomes(passed=3)
    assert (pytester.path / "baselines" / "test_it" / "test_table.jsonl").exists()
    assert not project.folder.exists()
