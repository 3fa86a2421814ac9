"""The life of a baseline: missing, recorded, equal, changed, updated, broken, repaired."""

import errno
import json
import re
import textwrap
from importlib import metadata
from pathlib import Path

import pytest

TABLE = "__snapshots__/test_it/test_table.jsonl"
PICTURE = "__snapshots__/test_it/test_picture[small_model.conv2].png"

BODY = """
@pytest.fixture
def output(model, photo):
    change(model)
    return model(photo)

@pytest.mark.capture("small_model.*", "relu")
def test_table(output, feature_maps, feature_snapshot):
    assert feature_maps == feature_snapshot

@pytest.mark.capture("small_model.conv2")
def test_picture(output, feature_maps, feature_snapshot):
    assert feature_maps["small_model.conv2"] == feature_snapshot
"""

CHANGES = {
    "nothing": "o",
    "noise": "o * (1 + 1e-6)",
    "gain": "o * 2",
    "shift": "o.roll(1, -1)",
    "nan": "o.where(o < 0.3, float('nan'))",
    "one dead channel": "o * (torch.arange(8) != 3)[:, None, None]",
}
CHANGE = """
def change(model):
    conv2 = model.small_model.conv2
    forward = conv2.forward
    conv2.forward = lambda x: altered(forward(x))

def change_weights(model):
    model.small_model.conv2.weight.data *= 1.5

def altered(o):
    return {}
"""


@pytest.fixture
def project(pytester, write):
    """A project with a table and a picture, whose model can be changed."""

    class Project:
        table = pytester.path / TABLE
        picture = pytester.path / PICTURE

        def change(self, change="nothing", body=BODY):
            write(CHANGE.format(CHANGES[change]) + textwrap.dedent(body))

        def run(self, *arguments):
            return pytester.runpytest("-p", "no:cacheprovider", *arguments)

        def record(self):
            self.change()
            self.run("--snapshot-update").assert_outcomes(passed=2)
            return self.table.read_bytes(), self.picture.read_bytes()

        def stored(self):
            return self.table.read_bytes(), self.picture.read_bytes()

    return Project()


def section(result, title):
    """The lines of a report section."""
    output = result.outlines
    start = next(
        i for i, line in enumerate(output) if re.fullmatch(f"-+ {re.escape(title)} -+", line)
    )
    end = next(i for i in range(start + 1, len(output)) if re.match("[-_=]{5}", output[i]))
    return output[start + 1 : end]


def test_a_missing_baseline_fails_and_names_the_command(project):
    project.change()
    result = project.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E       assert test_table.jsonl: there is no baseline yet",
            "E         record it with: pytest --snapshot-update test_it.py::test_table",
        ],
        consecutive=True,
    )
    assert not project.table.exists()
    assert section(result, "feature baseline test_picture[small_model.conv2].png") == [
        "test_picture[small_model.conv2].png: there is no baseline yet",
        "record it with: pytest --snapshot-update test_it.py::test_picture",
    ]


def test_an_update_records_and_the_next_run_passes(project):
    table, picture = project.record()
    lines = [json.loads(line) for line in table.splitlines()]
    assert lines[0]["featuremaps"] == 1
    assert [line["key"] for line in lines[1:]] == ["small_model.conv1", "small_model.conv2", "relu"]
    assert picture.startswith(b"\x89PNG")
    result = project.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["2 snapshots passed."])
    assert project.stored() == (table, picture)


@pytest.mark.parametrize("change", ["nothing", "noise"])
def test_what_is_within_tolerance_passes_and_an_update_changes_no_byte(project, change):
    before = project.record()
    project.change(change)
    project.run().assert_outcomes(passed=2)
    project.run("--snapshot-update").assert_outcomes(passed=2)
    assert project.stored() == before


@pytest.mark.parametrize("change", ["gain", "shift", "nan", "one dead channel"])
def test_a_change_fails_and_names_the_layer_that_changed_first(project, change):
    before = project.record()
    project.change(change)
    result = project.run()
    result.assert_outcomes(failed=2)
    result.stdout.re_match_lines(
        [
            r"E       assert small_model\.conv2 changed first: .*",
            r"E       assert small_model\.conv2 changed: .*",
        ]
    )
    assert project.stored() == before


def test_an_update_writes_the_changed_lines_only(project):
    table, picture = project.record()
    project.change("gain")
    project.run("--snapshot-update").assert_outcomes(passed=2)
    old, new = table.splitlines(), project.table.read_bytes().splitlines()
    assert [a == b for a, b in zip(old, new, strict=True)] == [True, True, False, False]
    assert project.picture.read_bytes() != picture
    project.run().assert_outcomes(passed=2)


def test_the_story_of_a_table(project):
    project.record()
    project.change(body=BODY.replace("change(model)", "change_weights(model)"))
    result = project.run("-k", "table")
    told = section(result, "feature baseline test_table.jsonl")
    assert told[0] == "test_table.jsonl: 2 of 3 maps differ from the baseline"
    assert told[1].startswith("small_model.conv2 changed first: relative L2 change ")
    assert "  why: its weights changed" in told
    assert any(line.startswith("  relu: relative L2 change ") for line in told)
    assert told[-1] == "accept with: pytest --snapshot-update test_it.py::test_table"


def test_the_story_of_a_picture(project):
    project.record()
    project.change("one dead channel")
    result = project.run("-k", "picture")
    told = section(result, "feature baseline test_picture[small_model.conv2].png")
    assert told[0] == "test_picture[small_model.conv2].png: 1 of 1 map differs from the baseline"
    assert "picture: 1 of 8 channels differs" in told
    assert any(line.startswith("picture: channel 3: 64 of 64 pixels ") for line in told), told
    assert told[-1] == "accept with: pytest --snapshot-update test_it.py::test_picture"


def test_the_story_is_told_without_rewritten_assertions_and_by_workers(project):
    project.record()
    project.change("gain")
    for arguments in (["--assert=plain"], ["-n", "2"]):
        result = project.run(*arguments, "-k", "table")
        result.assert_outcomes(failed=1)
        told = section(result, "feature baseline test_table.jsonl")
        assert told[1].startswith("small_model.conv2 changed first: ")


BROKEN = {
    "empty": b"",
    "truncated": None,
    "LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "conflict": b"<<<<<<< HEAD\na\n=======\nb\n>>>>>>> other\n",
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_baseline_is_told_and_an_update_repairs_it(project, content):
    before = project.record()
    for path, good in zip((project.table, project.picture), before, strict=True):
        path.write_bytes(good[: len(good) // 2] if content is None else content)
    result = project.run()
    result.assert_outcomes(failed=2)
    for name in ("test_table.jsonl", "test_picture[small_model.conv2].png"):
        told = section(result, f"feature baseline {name}")
        assert told[0].startswith(f"{name} cannot be read: ")
        assert told[1].startswith("restore it from version control, or record it anew with: ")
    assert "Traceback" not in result.stdout.str()
    project.run("--snapshot-update").assert_outcomes(passed=2)
    assert project.stored() == before


def test_only_new_baselines_are_written_on_request(project):
    before = project.record()
    project.change("gain")
    project.run("--snapshot-update-new-only").assert_outcomes(failed=2)
    assert project.stored() == before
    project.picture.unlink()
    project.run("--snapshot-update-new-only").assert_outcomes(passed=1, failed=1)
    assert project.picture.exists()


def test_an_unused_baseline_is_reported(project):
    project.record()
    project.change(body=BODY.replace("def test_picture", "def renamed_test_picture"))
    result = project.run()
    result.stdout.fnmatch_lines(["1 snapshot passed. 1 snapshot unused."])


def test_with_two_workers(project):
    project.change()
    project.run("-n", "2", "--snapshot-update").assert_outcomes(passed=2)
    before = project.stored()
    project.run("-n", "2", "--snapshot-update").assert_outcomes(passed=2)
    assert project.stored() == before
    project.change("gain")
    project.run("-n", "2").assert_outcomes(failed=2)


def test_each_comparison_has_a_file_of_its_own(project):
    project.change(
        body="""
        class TestNames:
            @pytest.mark.parametrize("kind", ["a:b", "a?b", "é", "x" * 300, "x" * 301])
            @pytest.mark.capture("relu", "**")
            def test_named(self, model, photo, feature_maps, feature_snapshot, kind):
                model(photo)
                assert feature_maps == feature_snapshot
                assert feature_maps == feature_snapshot("again")
                assert feature_maps["relu"] == feature_snapshot
                assert feature_maps["relu"] == feature_snapshot("again")
        """
    )
    project.run("--snapshot-update").assert_outcomes(passed=5)
    project.run().assert_outcomes(passed=5)
    names = sorted(path.name for path in project.table.parent.iterdir())
    assert len(names) == 20
    assert names[:4] == [
        "TestNames.test_named[%5Cxe9].jsonl",
        "TestNames.test_named[%5Cxe9][again].jsonl",
        "TestNames.test_named[%5Cxe9][again][relu].png",
        "TestNames.test_named[%5Cxe9][relu].png",
    ]
    assert max(len(name) for name in names) < 220


def test_two_comparisons_of_one_name_are_an_error(project):
    project.change(
        body="""
        @pytest.mark.capture("relu")
        def test_twice(model, photo, feature_maps, feature_snapshot):
            model(photo)
            feature_maps == feature_snapshot
            feature_maps == feature_snapshot
        """
    )
    result = project.run("--snapshot-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * test_twice.jsonl is also the baseline of an earlier comparison *",
            'E * Give this comparison a name of its own: feature_snapshot(name="...").',
        ]
    )


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]])
def test_a_name_and_a_parameter_that_looks_like_it_have_two_files(project, pytester, arguments):
    project.change(
        body="""
        @pytest.mark.parametrize("id", ["a", "a][b", "c::d"])
        @pytest.mark.capture("relu")
        def test_ids(model, photo, feature_maps, feature_snapshot, id):
            model(photo)
            assert feature_maps == feature_snapshot(name="b" if id == "a" else None)
        """
    )
    project.run("--snapshot-update", *arguments).assert_outcomes(passed=3)
    names = ["test_ids[a]%5Bb].jsonl", "test_ids[a][b].jsonl"]
    colons = "test_ids[c.test_ids[c%3A%3Ad].jsonl"
    assert {path.name for path in project.table.parent.iterdir()} == {*names, colons}
    project.run(*arguments).assert_outcomes(passed=3)


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]])
def test_tests_that_differ_in_case_only_are_an_error(project, arguments):
    project.change(
        body="""
        @pytest.mark.parametrize("name", ["b", "a", "A"])
        @pytest.mark.capture("relu")
        def test_case(model, photo, feature_maps, feature_snapshot, name):
            model(photo)
            feature_maps == feature_snapshot
        """
    )
    result = project.run("--snapshot-update", *arguments)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_case[[]a] and test_it.py::test_case[[]A] differ in case only, so on "
            "some disks their baselines would be the same file.",
            "Give one of the tests, or of its parameters, another name.",
        ]
    )


def test_a_body_run_again_compares_again(project, pytester):
    project.record()
    conftest = Path(pytester.path / "conftest.py")
    conftest.write_text(
        conftest.read_text()
        + "\n@pytest.hookimpl(tryfirst=True)\ndef pytest_runtest_call(item):\n    item.runtest()\n"
    )
    project.run().assert_outcomes(passed=2)


def test_one_sample_makes_the_batch_irrelevant(project):
    body = """
        @pytest.mark.capture("**")
        def test_table(model, photo, feature_maps, feature_snapshot):
            model(torch.cat([photo] * {batch}))
            assert feature_maps == feature_snapshot(sample=0)

        @pytest.mark.capture("small_model.conv2")
        def test_picture(model, photo, feature_maps, feature_snapshot):
            model(torch.cat([photo] * {batch}))
            assert feature_maps["small_model.conv2"] == feature_snapshot
        """
    project.change(body=body.format(batch=1))
    project.run("--snapshot-update").assert_outcomes(passed=2)
    project.change(body=body.format(batch=4))
    project.run().assert_outcomes(passed=2)


def test_channels_and_tolerance_of_one_comparison(project):
    body = """
        @pytest.mark.capture("small_model.conv2")
        def test_table(model, photo, feature_maps, feature_snapshot):
            change(model)
            model(photo)
            assert feature_maps == feature_snapshot(tolerance="{tolerance}")

        @pytest.mark.capture("small_model.conv2")
        def test_picture(model, photo, feature_maps, feature_snapshot):
            change(model)
            model(photo)
            assert feature_maps["small_model.conv2"] == feature_snapshot(
                tolerance="{tolerance}", channels={channels}
            )
        """
    project.change(body=body.format(tolerance="cpu", channels="[1, 3]"))
    project.run("--snapshot-update").assert_outcomes(passed=2)
    project.change("noise", body.format(tolerance="exact", channels="[1, 3]"))
    project.run().assert_outcomes(failed=2)
    project.change("noise", body.format(tolerance="half", channels="[1, 3]"))
    project.run().assert_outcomes(passed=2)
    project.change("nothing", body.format(tolerance="half", channels="[1, 4]"))
    result = project.run("-k", "picture")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E * assert picture: it shows other channels than the baseline's; see channels="]
    )


def test_anything_else_is_a_type_error_with_the_right_spelling(project):
    project.change(
        body="""
        @pytest.mark.parametrize("left", [
            lambda maps: maps["relu"].numpy(),
            lambda maps: maps["relu"].tensor,
            lambda maps: 3,
        ])
        @pytest.mark.capture("relu")
        def test_wrong(model, photo, feature_maps, feature_snapshot, left):
            model(photo)
            with pytest.raises(TypeError) as caught:
                left(feature_maps) == feature_snapshot
            assert str(caught.value).splitlines()[1] == (
                "Write `feature_maps == feature_snapshot` for a table of numbers, or "
                '`feature_maps["conv1"] == feature_snapshot` for a picture.'
            )

        def test_nothing_captured(feature_maps, feature_snapshot):
            feature_maps == feature_snapshot
        """
    )
    result = project.run("--snapshot-update")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * There is no feature map to compare with a baseline.",
            "E * nothing is captured: mark the test with capture(*",
        ]
    )
    assert not project.table.parent.exists()


OPTIONS = {
    "sample='a'": "sample= is the number of one sample of the batch, from 0, not 'a'.",
    "sample=True": "sample= is the number of one sample of the batch, from 0, not True.",
    "channels=3": "channels= lists the numbers of channels, from 0, as [0, 5]; not 3.",
    "channels=[]": "channels= lists the numbers of channels, from 0, as [0, 5]; not [].",
    "channels='12'": "channels= lists the numbers of channels, from 0, as [0, 5]; not '12'.",
    "channels=[.5]": "channels= lists the numbers of channels, from 0, as [0, 5]; not [0.5].",
    "channels=[99]": "channels= is for a picture; a table compares whole feature maps.\n"
    'Take it away, or compare one map: feature_maps["relu"] == feature_snapshot(channels=...)',
}


def test_options_that_mean_nothing_are_told(project):
    project.change(
        body=f"""
        OPTIONS = {OPTIONS!r}

        @pytest.mark.parametrize("option", OPTIONS)
        @pytest.mark.capture("relu")
        def test_options(model, photo, feature_maps, feature_snapshot, option):
            from pytest_featuremaps.errors import BaselineError

            model(photo)
            with pytest.raises(BaselineError) as caught:
                assert feature_maps == eval(f"feature_snapshot({{option}})")
            assert str(caught.value) == OPTIONS[option]
        """
    )
    project.run("--snapshot-update").assert_outcomes(passed=len(OPTIONS))
    assert not project.table.parent.exists()


def test_an_empty_tolerance_of_the_run_is_none(project):
    project.change()
    result = project.run("--featuremaps-tolerance=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --featuremaps-tolerance: no tolerance is called ''"])


def test_unequal_is_refused_and_records_nothing(project):
    project.change(
        body="""
        @pytest.mark.capture("relu")
        def test_unequal(model, photo, feature_maps, feature_snapshot):
            model(photo)
            assert not (feature_maps != feature_snapshot)
        """
    )
    for arguments in ([], ["--snapshot-update"]):
        result = project.run(*arguments)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "E * TypeError: feature_snapshot is compared with ==, and an update records what "
                "is compared.",
                "E * Write `assert feature_maps == feature_snapshot`. To expect a difference, ask "
                "pytest_featuremaps.compare(reference, candidate) for it.",
            ],
            consecutive=True,
        )
    assert not project.table.parent.exists()


def test_errors_of_a_comparison_are_raised(project):
    project.change(
        body="""
        from pytest_featuremaps import UnsupportedTensor

        @pytest.mark.capture(".")
        def test_vector(feature_maps, feature_snapshot):
            net = nn.Flatten(0)
            feature_maps.attach(net, ".", name="net")
            net(torch.ones(2, 4))
            with pytest.raises(UnsupportedTensor, match="there is no picture of it"):
                feature_maps.of("net")["."] == feature_snapshot

        @pytest.mark.capture("relu")
        def test_sample(model, photo, feature_maps, feature_snapshot):
            model(photo)
            with pytest.raises(IndexError, match="has no sample 1: it has 1, from 0"):
                feature_maps == feature_snapshot(sample=1)
        """.replace('        @pytest.mark.capture(".")\n', "")
    )
    project.run().assert_outcomes(passed=2)


def test_without_syrupy_everything_else_works(project):
    project.change(
        body="""
        @pytest.mark.capture("relu")
        def test_maps(model, photo, feature_maps):
            model(photo)
            feature_maps["relu"].assert_finite()

        @pytest.mark.capture("relu")
        def test_baseline(model, photo, feature_maps, feature_snapshot):
            pass
        """
    )
    result = project.run("-p", "no:syrupy")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "feature_snapshot keeps its baselines with syrupy, and no plugin gives a fixture "
            "'snapshot'.",
            "Load syrupy: take `-p no:syrupy` away, or rename the other fixture. Everything but "
            "feature_snapshot works without it.",
        ],
        consecutive=True,
    )


def test_a_fixture_snapshot_of_another_plugin_is_named(project):
    project.change(
        body="""
        @pytest.fixture
        def snapshot():
            return {}

        def test_baseline(feature_snapshot):
            pass
        """
    )
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*syrupy, and the fixture 'snapshot' is builtins's here."])


def test_a_baseline_of_maps_with_nan_is_recorded_with_a_warning(project):
    strict = ("-W", "error::pytest_featuremaps.FeatureMapsWarning")
    project.change("nan")
    result = project.run(*strict, "--snapshot-update")
    result.assert_outcomes(failed=2)
    assert not project.table.parent.exists()
    result = project.run("-W", "default", "--snapshot-update")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "  *test_it.py:*: FeatureMapsWarning: A baseline is recorded of feature maps that hold "
            "NaN: small_model.conv2.",
            "  Every run that has the same NaN agrees with it. feature_maps.assert_finite() says "
            "where they begin; where NaN is what is tested, ignore "
            "pytest_featuremaps.FeatureMapsWarning.",
        ],
        consecutive=True,
    )
    project.run(*strict).assert_outcomes(passed=2)


def test_a_folder_in_the_place_of_a_baseline_is_told(project):
    project.record()
    project.table.unlink()
    project.table.mkdir()
    result = project.run("-k", "table")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*test_table.jsonl: a folder stands where the baseline should *"])


@pytest.mark.skipif(
    metadata.version("syrupy") < "6",
    reason="syrupy before 6.0 tries again at the end of the run, and ends with the error",
)
def test_an_interrupted_write_leaves_the_old_baseline(project, monkeypatch):
    before = project.record()

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    project.change("gain")
    result = project.run("--snapshot-update")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E * test_table.jsonl cannot be written: No space left on device.",
            "E * The baseline is as it was before this run.",
        ]
    )
    assert project.stored() == before
    assert sorted(path.name for path in project.table.parent.iterdir()) == [
        project.picture.name,
        project.table.name,
    ]
