"""What a failed comparison leaves, and when it goes away."""

import contextlib
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from pytest_featuremaps.rendering import panels
from pytest_featuremaps.review import folder, records
from pytest_featuremaps.review.records import File, Map, Record
from pytest_featuremaps.runs.invocation import review_command

BODY = """
@pytest.mark.capture("**")
def test_maps(model, photo, feature_maps, feature_snapshot):
    model(photo)
    results = [feature_maps == feature_snapshot]
    results.append(feature_maps["small_model.conv2"] == feature_snapshot)
    assert all(results)


@pytest.mark.capture("small_model.conv1")
def test_other(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert feature_maps == feature_snapshot
"""
CHANGED = """
class Net(Net):
    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.small_model.conv2.weight.mul_(1.5)
            self.small_model.conv2.bias.mul_(1.5)
"""
# Fails in its first run, and passes when it is run again.
FIRST = """\
        if hasattr(pytest, "again"):
            return
        pytest.again = True
"""
END = """
def pytest_unconfigure():
    del pytest.again
"""
FLAKY = CHANGED.replace("        with torch", f"{FIRST}        with torch") + END


@pytest.fixture
def project(write, pytester):
    """A project with baselines, whose model can be changed."""

    class Project:
        output = pytester.path / ".featuremaps"

        def run(self, *arguments):
            return pytester.runpytest("-p", "no:cacheprovider", *arguments)

        def change(self, conftest=CHANGED, body=BODY):
            write(body, conftest=conftest)

        def results(self):
            return {one.record.baseline.rpartition("/")[2]: one for one in folder.read(self.output)}

    project = Project()
    project.change("")
    project.run("--snapshot-update").assert_outcomes(passed=2)
    project.change()
    return project


def names(result):
    return sorted(path.name for path in result.folder.iterdir())


def test_a_green_run_leaves_nothing(project):
    project.change("")
    project.run().assert_outcomes(passed=2)
    assert not project.output.exists()


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["serial", "two workers"])
def test_a_failure_leaves_a_record_and_its_files(project, arguments):
    result = project.run(*arguments)
    result.assert_outcomes(failed=1, passed=1)
    table, picture = (project.results()[name] for name in ("test_maps.jsonl", PICTURE))
    assert names(table) == ["expected.jsonl", "record.json", "update.jsonl"]
    files = ["actual.png", "difference.png", "expected.png", "record.json", "update.png"]
    assert names(picture) == files
    shown = (picture.folder / "difference.png").relative_to(project.output.parent)
    section = ["*- feature maps to review -*", "*/update.jsonl", str(shown).replace("[", "[[]")]
    result.stdout.fnmatch_lines([*section, "decide with: pytest-featuremaps review"])
    assert (project.output / ".gitignore").read_text() == "*\n"


PICTURE = "test_maps[small_model.conv2].png"


def test_the_record_says_what_happened(project):
    project.run()
    results = project.results()
    fields = json.loads((results["test_maps.jsonl"].folder / "record.json").read_bytes())
    assert fields["featuremaps_result"] == 1
    assert fields["test"] == "test_it.py::test_maps"
    assert fields["baseline"] == "__snapshots__/test_it/test_maps.jsonl"
    assert (fields["kind"], fields["status"]) == ("table", "changed")
    assert (fields["first"], fields["why"]) == ("small_model.conv2", "its weights changed")
    kinds = {one["key"]: one["kind"] for one in fields["maps"]}
    assert kinds["small_model.conv1"] == "equal"
    assert kinds["small_model.conv2"] == "changed"
    changed = fields["maps"][1]
    assert changed["says"].startswith("relative L2 change ")
    assert changed["before"]["mean"] != changed["after"]["mean"]
    assert changed["violations"][0]["quantity"] == "relative_l2"


def test_the_bytes_are_those_that_an_update_writes(project, pytester):
    project.run()
    left = {name: one.read(one.record.update) for name, one in project.results().items()}
    project.run("--snapshot-update")
    stored = pytester.path / "__snapshots__" / "test_it"
    assert left == {name: (stored / name).read_bytes() for name in left}


def test_a_test_that_passes_again_leaves_nothing(project):
    project.run()
    assert len(project.results()) == 2
    project.change("")
    project.run("-k", "other")
    assert len(project.results()) == 2
    project.run()
    assert not project.output.exists()


def test_a_comparison_that_agrees_again_goes_while_its_test_still_fails(project):
    project.run()
    early = BODY.replace("    model(photo)", "    assert False", 1)
    project.change(body=early)
    project.run()
    assert sorted(project.results()) == ["test_maps.jsonl", PICTURE]  # not even compared
    wide = "feature_maps == feature_snapshot(tolerance=1.0), False]"
    project.change(body=BODY.replace("feature_maps == feature_snapshot]", wide))
    project.run()
    assert sorted(project.results()) == [PICTURE]


def test_what_is_left_of_a_test_that_asks_for_its_baseline_late_stays(project):
    late = BODY.replace("feature_maps, feature_snapshot):\n", "feature_maps, request):\n", 1)
    asked = "    feature_snapshot = request.getfixturevalue('feature_snapshot')\n    results"
    project.change(body=late.replace("    results", asked, 1))
    project.run().assert_outcomes(failed=1, passed=1)
    project.run("-k", "other").assert_outcomes(passed=1, deselected=1)
    assert len(project.results()) == 2


def test_what_is_left_of_tests_that_are_gone_goes(project, pytester):
    project.run()
    project.change(body=BODY.replace("def test_maps", "def test_renamed"))
    project.run("test_it.py::test_other")
    assert len(project.results()) == 2
    project.run("--collect-only")
    assert len(project.results()) == 2
    project.run("-k", "other")
    assert not project.output.exists()


def test_what_is_left_of_a_file_that_is_gone_goes(project, pytester):
    project.run()
    (pytester.path / "test_it.py").rename(pytester.path / "test_that.py")
    project.run("-k", "nothing")
    assert not project.output.exists()


def test_two_projects_may_share_a_folder(project, pytester):
    project.run("--featuremaps-output=shared").assert_outcomes(failed=1, passed=1)
    other = pytester.mkdir("other")
    (other / "pytest.ini").write_text("[pytest]\n")
    (other / "test_that.py").write_text("def test_it(): pass\n")
    result = project.run("--rootdir=other", "--featuremaps-output=shared", "other")
    result.assert_outcomes(passed=1)
    assert len(folder.read(pytester.path / "shared")) == 2


def test_an_expected_failure_leaves_nothing(project):
    project.change(
        body=BODY.replace("@pytest.mark.capture", "@pytest.mark.xfail\n@pytest.mark.capture", 1)
    )
    project.run().assert_outcomes(xfailed=1, passed=1)
    assert not project.output.exists()


def test_a_rerun_that_passes_leaves_nothing(project):
    project.change(FLAKY)
    result = project.run("--reruns", "1", "-k", "maps")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 rerun*"])
    assert not project.output.exists()


def test_a_missing_and_a_broken_baseline_leave_what_would_be_written(project, pytester):
    stored = pytester.path / "__snapshots__" / "test_it"
    (stored / "test_maps.jsonl").unlink()
    (stored / PICTURE).write_bytes(b"<<<<<<< HEAD\n")
    project.run()
    results = project.results()
    assert names(results["test_maps.jsonl"]) == ["record.json", "update.jsonl"]
    assert results["test_maps.jsonl"].record.status == "new"
    assert {one.kind for one in results["test_maps.jsonl"].record.maps} == {"added"}
    assert names(results[PICTURE]) == ["expected.png", "picture.png", "record.json", "update.png"]
    assert results[PICTURE].record.status == "unreadable"


def test_a_first_run_leaves_a_picture_that_can_be_looked_at(project, pytester):
    stored = pytester.path / "__snapshots__" / "test_it" / PICTURE
    with Image.open(stored) as picture:
        small = picture.size
    stored.unlink()
    result = project.run()
    left = project.results()[PICTURE].folder / "picture.png"
    place = str(left.relative_to(pytester.path)).replace("[", "[[]")
    result.stdout.fnmatch_lines([place])
    with Image.open(left) as picture:
        assert max(picture.size) > 400 > max(small)


@pytest.mark.parametrize(("factor", "caption"), [
    (1 + 3e-4, "numbers differ; no pixel by more than 1 level"),
    (1.5, "8 of 8 channels changed"),
])  # fmt: skip
def test_the_difference_says_when_no_pixel_tells(project, monkeypatch, factor, caption):
    said = []
    page = panels._page

    def listen(*arguments):
        said.append(arguments[2][2])
        return page(*arguments)

    monkeypatch.setattr(panels, "_page", listen)
    project.change(CHANGED.replace("1.5", str(factor)))
    project.run("-k", "maps")
    assert said == [caption]


def test_another_folder(project, pytester):
    result = project.run("--featuremaps-output", "left/here")
    result.stdout.fnmatch_lines(["decide with: pytest-featuremaps review --from left/here"])
    assert len(folder.read(pytester.path / "left" / "here")) == 2
    assert not project.output.exists()


@pytest.mark.parametrize(
    ("here", "output", "command"),
    [
        (".", None, ""),
        (".", "a b", " --from 'a b'"),
        ("below", None, ""),
        ("below", "out", " --from out --root .."),
        ("..", None, " --root project"),
        ("..", "out", " --from out --root project"),
    ],
)
def test_the_command_that_decides(tmp_path, here, output, command):
    root = tmp_path / "project"
    started = Path(os.path.normpath(root / here))
    config = SimpleNamespace(invocation_params=SimpleNamespace(dir=started), rootpath=root)
    assert review_command(config, output) == f"pytest-featuremaps review{command}"


def test_never_among_the_baselines(project):
    result = project.run("--featuremaps-output=__snapshots__/left")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --featuremaps-output=__snapshots__/left is inside __snapshots__, which holds "
            "baselines: choose a folder elsewhere"
        ]
    )


def test_a_folder_that_cannot_be_written_hides_no_failure(project):
    project.output.write_text("a file stands here")
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["test_maps.jsonl could not be kept for review: *"])
    result.stdout.no_fnmatch_line("decide with: *")
    result.stdout.fnmatch_lines(["*feature baseline test_maps.jsonl*"])


def record(baseline="__snapshots__/test_it/test_a.jsonl", test="test_it.py::test_a", **fields):
    update = File("update.jsonl", "0")
    maps = (Map("conv", "changed", "moved", "conv", "conv"),)
    known = {
        "id": "0123456789", "name": "", "kind": "table", "status": "changed", "first": "conv",
        "why": "", "headline": ("a",), "story": ("a",), "levels": 0, "update": update,
        "expected": None, "actual": None, "difference": None, "environment": (("torch", "2", "3"),),
        "maps": maps,
    }  # fmt: skip
    return Record(test=test, baseline=baseline, **{**known, **fields})


def test_a_record_is_read_as_it_was_written():
    assert records.load(records.dump(record())) == record()


BAD = [
    (lambda fields: fields.pop("maps"), "'maps'"),
    (lambda fields: fields.update(kind="song"), "'song' is none of table, picture"),
    (lambda fields: fields["update"].update(file="../x"), "'../x' is not the name of a file beside it"),  # noqa: E501
    (lambda fields: fields.update(maps=3), "3 is not a list"),
    (lambda fields: fields.update(levels="1"), "'1' is not a whole number"),
    (lambda fields: fields.update(test=None), "None is not a text"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_a_bad_record_is_told(change, reason):
    fields = json.loads(records.dump(record()))
    change(fields)
    with pytest.raises(records.BadRecord) as told:
        records.load(json.dumps(fields).encode())
    assert str(told.value) == f"it is not as it was written: {reason}"


def test_a_record_of_a_later_format():
    with pytest.raises(records.BadRecord, match="it has format 2, this version reads format 1"):
        records.load(b'{"featuremaps_result": 2}')


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999"])
def test_a_number_that_is_not_finite_is_not_json(number):
    data = records.dump(record()).replace(b'"levels": 0', f'"levels": {number}'.encode())
    with pytest.raises(records.BadRecord) as told:
        records.load(data)
    assert str(told.value) == f"it holds the number {number}, which is not finite"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_bytes_that_are_no_record(data):
    with pytest.raises(records.BadRecord):
        records.load(data)


def test_two_runs_at_once_leave_one_whole_result(tmp_path):
    """Whoever reads meanwhile sees a whole result, of one of the two."""
    stop, wrong = threading.Event(), []

    def run(letter):
        while not stop.is_set():
            folder.write(tmp_path, record(why=letter), {"update.jsonl": letter.encode()})
            folder.forget_test(tmp_path, "test_it.py::test_a")

    threads = [threading.Thread(target=run, args=(letter,)) for letter in "ab"]
    for one in threads:
        one.start()
    for _ in range(300):
        for result in folder.read(tmp_path):
            wrong += [names(result)] if result.record.why not in "ab" else []
    stop.set()
    for one in threads:
        one.join()
    assert not wrong
    folder.write(tmp_path, record(why="c"), {"update.jsonl": b"c"})
    (result,) = folder.read(tmp_path)
    assert (result.record.why, result.read(result.record.update)) == ("c", b"c")
    folder.forget_comparison(tmp_path, "test_it.py::test_a", result.record.baseline)
    assert list(tmp_path.parent.iterdir()) == [] or not tmp_path.exists()


@pytest.mark.parametrize("left", [["results/test", ".gitignore"], ["results", ".gitignore"]])
@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_a_folder_that_was_being_removed_goes_with_the_next_decision(
    left, killed_after, tmp_path, monkeypatch
):
    output = tmp_path / folder.DEFAULT
    (output / left[0]).mkdir(parents=True)
    (output / ".gitignore").touch()
    steps = iter(range(killed_after))
    remove = Path.rmdir

    def killed(path):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        remove(path)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Path, "rmdir", killed)
        folder.clear(output)
    folder.clear(output)
    assert not output.exists()


def test_an_empty_folder_of_another_name_is_left_alone(tmp_path):
    (tmp_path / ".gitignore").touch()
    folder.clear(tmp_path)
    assert (tmp_path / ".gitignore").exists()


FOLDERS = {
    "tests/test_it.py::test_a[x]": "tests.test_it.py.test_a[x]",
    f"tests/{'far/' * 20}test_it.py::TestNet::test_a[x]": "test_it.py.TestNet.test_a[x]",
    f"tests/test_{'long_' * 9}file.py::test_name[{'case-' * 9}]": f"test_name[{'case-' * 9}]",
    f"tests/test_it.py::test_name[{'long-' * 50}case]": f"test_name[{'long-' * 10}",
}


@pytest.mark.parametrize(("test", "name"), FOLDERS.items())
def test_a_folder_is_called_as_its_test_begins(tmp_path, test, name):
    place = folder.write(tmp_path, record(test=test), {"update.jsonl": b""})
    assert place.parent.name.rpartition("~")[0] == name
