"""The noise of a baseline: how far its maps drift in a second run, and what becomes of that."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_featuremaps import rendering
from pytest_featuremaps.baseline.comparing import compare, merge
from pytest_featuremaps.baseline.noise import CHANCE, measured, rounded_up
from pytest_featuremaps.baseline.table_files import dump, load
from pytest_featuremaps.baseline.tables import Line, Table
from pytest_featuremaps.baseline.tolerances import resolve, same_noise
from pytest_featuremaps.runs.noise_run import NoiseRun
from pytest_featuremaps.runs.rerun import Outcome, arguments
from pytest_featuremaps.session.noise_plugin import described


def line(key="conv", *, drift=0.0, noise=None, dtype="float32", rms=1.0, device="cpu", **more):
    """A map whose sketch has moved by a relative L2 change of `drift`."""
    sketch = (round(drift / 1e-7), *range(60))
    return Line(
        key, "Conv2d", (1, 4), dtype, device, {"rms": rms}, sketch=sketch, noise=noise, **more
    )


def table(*lines):
    return Table({"torch": "2"}, lines)


# --- the number ---------------------------------------------------------------------------------


@given(st.floats(1e-12, 1e3))
def test_noise_is_rounded_up_to_one_digit(value):
    rounded = rounded_up(value)
    assert value * (1 - 1e-12) <= rounded <= 2 * value
    assert float(f"{rounded:.0e}") == rounded


def test_noise_of_one_digit_stays_what_it_is():
    for digit in range(1, 10):
        for exponent in range(-12, 3):
            assert rounded_up(float(f"{digit}e{exponent}")) == float(f"{digit}e{exponent}")
    assert rounded_up(9.1e-6) == 1e-5
    assert rounded_up(0.0) == 0.0


def test_the_noise_of_a_map_is_its_relative_change():
    kept, chance = measured(table(line()), table(line(drift=3.2e-5)))
    assert [one.noise for one in kept.lines] == [4e-5]
    assert chance == []


def test_what_chance_decides_is_named_and_has_no_noise():
    now = table(line("still"), line("dropout"))
    kept, chance = measured(now, table(line("still"), line("dropout", drift=2 * CHANCE)))
    assert [one.noise for one in kept.lines] == [0.0, None]
    assert chance == ["dropout"]


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (line("here"), line("there")),
        (line(), replace(line(), shape=(2, 4))),
        (line(), replace(line(), dtype="float64")),
        (replace(line(), sketch=None), line()),
        (line(), replace(line(), sketch=None)),
        (line(dtype="bfloat16"), line(dtype="bfloat16", drift=1e-3)),
        (line(device="cuda:0"), line(device="cuda:0")),
    ],
)
def test_no_noise_where_nothing_can_be_measured_or_another_tolerance_holds(now, then):
    kept, chance = measured(table(now), table(then))
    assert [one.noise for one in kept.lines] == [None]
    assert chance == []


def test_a_map_without_finite_values_has_no_drift():
    kept, _ = measured(table(line(rms=math.nan)), table(line(rms=math.nan)))
    assert kept.lines[0].noise == 0.0


# --- in a baseline ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "new", "kept"),
    [
        (2e-5, 6e-5, True),
        (6e-5, 2e-5, True),
        (2e-5, 7e-5, False),
        (7e-5, 2e-5, False),
        (0.0, 5e-7, True),  # both under what is taken for the least
        (0.0, 1e-6, True),
        (0.0, 2e-6, False),
        (None, 0.0, False),
    ],
)
def test_a_stored_noise_stays_while_a_new_one_is_like_it(stored, new, kept):
    assert same_noise(stored, new) is kept
    before = dump(table(line("a"), line("conv", noise=stored)))
    after = merge(before, table(line("a"), line("conv", noise=new)))
    assert (after == before) is kept
    assert load(after).lines[1].noise == (stored if kept else new)
    assert after.splitlines()[:2] == before.splitlines()[:2]


def test_an_update_without_measuring_keeps_what_was_measured():
    before = dump(table(line(noise=3e-5)))
    assert merge(before, table(line())) == before


def test_a_map_that_changed_loses_the_noise_of_what_it_was():
    before = dump(table(line(noise=3e-5)))
    assert load(merge(before, table(line(drift=0.5)))).lines[0].noise is None


def test_the_tolerance_follows_from_the_noise():
    quiet, loud = line(noise=0.0), line(noise=3e-4)
    assert resolve(None, quiet, quiet)[1].relative_l2 == pytest.approx(8 * 6e-7)
    assert resolve(None, loud, loud)[1].relative_l2 == pytest.approx(8 * 3e-4)
    moved = line(drift=2e-5)
    assert not compare(table(quiet), table(moved))
    assert compare(table(line()), table(moved))
    assert compare(table(loud), table(line(drift=2e-3)))


# --- the second run -----------------------------------------------------------------------------


def test_the_second_run_selects_and_configures_alike_and_writes_nothing(tmp_path):
    given = [
        Path("tests"),
        "-k",
        "conv",
        "--junitxml=out.xml",
        "--pdb",
        "--debug=log",
        "-n",
        "4",
        "--strange=1",
    ]
    options = {"xmlpath", "numprocesses", "basetemp"}
    made = arguments(given, options=options, folder=tmp_path, own=["--own"])
    assert made == [
        *["tests", "-k", "conv", "--junitxml=out.xml", "-n", "4", "--strange=1"],
        *["--junitxml=", "--numprocesses=0", f"--basetemp={tmp_path / 'tmp'}", "--own"],
        *["-q", "-rfE", "--tb=no", "--color=no"],
    ]


@given(names=st.lists(st.text(), unique=True, max_size=5))
def test_what_one_run_leaves_the_other_finds(tmp_path_factory, names):
    run = NoiseRun(tmp_path_factory.mktemp("left"), is_this=True)
    for name in names:
        run.put(name, name.encode("utf-8", "surrogatepass"))
    assert run.count() == len(names)
    for name in names:
        assert run.get(name) == name.encode("utf-8", "surrogatepass")
    assert run.get("".join(names) + "?") is None


def test_how_a_second_run_is_told():
    fine = Outcome(1.25, 0, ("3 passed in 1.20s",))
    assert list(described(fine, 1)) == [
        "the second run, under the lowest CPU capability, made 1 comparison in 1.2 s"
    ]
    failed = ("FAILED test_it.py::test_a - assert 0", "ERROR test_b.py", "1 failed")
    assert list(described(Outcome(2.0, 1, failed), 3))[1:] == [
        "what did not pass there has no noise: FAILED test_it.py::test_a - assert 0 (and 1 more)"
    ]
    assert list(described(Outcome(2.0, 4, ("ERROR: file not found",)), 0))[1:] == [
        "it ended with exit code 4, and noise is missing: ERROR: file not found"
    ]


# --- a whole run --------------------------------------------------------------------------------

CONFTEST = """
import os

import pytest


@pytest.fixture(params=["plain", "scaled"])
def model(request):
    torch.manual_seed(0)
    net = Net().eval()
    if os.environ.get("ATEN_CPU_CAPABILITY") == "default":
        net.small_model.conv1.register_forward_hook(lambda module, args, out: out * (1 + {drift}))
    return net


def pytest_sessionstart(session):
    with open("starts", "a") as file:
        threads = os.environ.get("OMP_NUM_THREADS"), os.environ.get("ONEDNN_MAX_CPU_ISA")
        print(*threads, session.config.getoption("numprocesses"), file=file)
"""

BODY = """
@pytest.mark.capture("small_model.*")
def test_table(model, photo, feature_maps, feature_snapshot, snapshot):
    model(photo)
    assert "of another plugin" == snapshot
    assert feature_maps == feature_snapshot
    assert feature_maps == feature_snapshot("again", sample=0)
    assert feature_maps["small_model.conv2"] == feature_snapshot

def test_without_a_baseline():
    with open("ran", "a") as file:
        print("ran", file=file)
"""


@pytest.fixture
def project(pytester, write, monkeypatch):
    class Project:
        folder = pytester.path / "__snapshots__"

        def write(self, *, drift="2.5e-5", body=BODY, more=""):
            write(body, conftest=CONFTEST.replace("{drift}", drift) + more)

        def run(self, *arguments):
            return pytester.runpytest("-p", "no:cacheprovider", *arguments)

        def measure(self, *arguments):
            return self.run("--snapshot-update", "--featuremaps-noise", *arguments)

        def stored(self):
            return {
                str(path.relative_to(self.folder)): path.read_bytes()
                for path in sorted(self.folder.rglob("*"))
                if path.is_file()
            }

        def noise(self, name):
            lines = (self.folder / "test_it" / name).read_text().splitlines()
            return [json.loads(one).get("noise") for one in lines[1:]]

    for name in ("ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(pytester.mkdir("temporary")))
    monkeypatch.setattr("tempfile.tempdir", None)
    return Project()


def test_an_update_measures_and_stores_noise_and_the_next_one_changes_nothing(project, pytester):
    project.write()
    result = project.measure("--junitxml=out.xml")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "measuring noise: the tests run under the lowest CPU capability first ...",
            "*- feature maps: noise -*",
            "the second run, under the lowest CPU capability, made 6 comparisons in * s",
        ]
    )
    for case in ("plain", "scaled"):
        assert project.noise(f"test_table[{case}].jsonl") == [3e-5, 3e-5]
        assert project.noise(f"test_table[{case}][again].jsonl") == [3e-5, 3e-5]
        picture = project.stored()[f"test_it/test_table[{case}][small_model.conv2].png"]
        assert load(rendering.decode(picture)[1].encode()).lines[0].noise == 3e-5
    # The second run: first, alone, on one thread, without the test that compares nothing.
    assert (pytester.path / "starts").read_text() == "1 SSE41 0\nNone None None\n"
    assert (pytester.path / "ran").read_text() == "ran\n"
    assert 'tests="3"' in (pytester.path / "out.xml").read_text()
    assert not list((pytester.path / "temporary").glob("featuremaps-*"))
    before = project.stored()
    project.write(drift="6e-5")
    project.measure("-n", "2").assert_outcomes(passed=3)
    assert project.stored() == before
    project.run().assert_outcomes(passed=3)


def test_a_baseline_without_noise_gets_it_line_by_line(project):
    project.write()
    project.run("--snapshot-update", "-k", "plain").assert_outcomes(passed=1)
    before = project.stored()
    assert project.noise("test_table[plain].jsonl") == [None, None]
    result = project.measure("-k", "plain")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*made 3 comparisons in * s"])
    after = project.stored()
    assert set(after) == set(before)
    for name in after:
        if name.endswith(".jsonl"):
            assert project.noise(name.partition("/")[2]) == [3e-5, 3e-5]
    picture = "test_it/test_table[plain][small_model.conv2].png"
    drawn = [rendering.decode(one[picture])[0] for one in (before, after)]
    assert (drawn[0].tiles == drawn[1].tiles).all()


def test_what_fails_in_the_second_run_has_no_noise_and_is_told(project):
    body = BODY + (
        "\ndef test_here_only(model, photo, feature_maps, feature_snapshot):\n"
        "    import os\n"
        "    assert os.environ.get('ATEN_CPU_CAPABILITY') != 'default'\n"
        "    feature_maps.attach(model, 'relu', name='net')\n"
        "    model(photo)\n"
        "    assert feature_maps == feature_snapshot\n"
    )
    project.write(body=body)
    result = project.measure("-k", "plain")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["what did not pass there has no noise: FAILED test_it.py::test_here_only[[]plain] - *"]
    )
    assert project.noise("test_here_only[plain].jsonl") == [None]
    assert project.noise("test_table[plain].jsonl") == [3e-5, 3e-5]


def test_chance_is_named_and_not_recorded(project):
    project.write(drift="0.5")
    result = project.measure("-k", "plain", "-W", "default")
    result.assert_outcomes(passed=1, deselected=2, warnings=3)
    result.stdout.fnmatch_lines(
        [
            "*test_it.py:9: FeatureMapsWarning: These feature maps change by more than 1e-02 of "
            "their RMS when the same test runs again: small_model.conv1, small_model.conv2.",
            "  That is no noise of rounding, and none is recorded for them. Seed what is drawn at "
            "random, and call model.eval() where dropout is active.",
            "    assert feature_maps == feature_snapshot",
        ]
    )
    assert project.noise("test_table[plain].jsonl") == [None, None]


def test_a_second_run_that_does_not_start_is_told_and_leaves_noise_unset(project):
    broken = "\nif os.environ.get('ATEN_CPU_CAPABILITY') == 'default':\n    raise ValueError\n"
    project.write(more=broken)
    result = project.measure("-k", "plain")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "the second run, under the lowest CPU capability, made 0 comparisons in * s",
            "it ended with exit code 4, and noise is missing: *",
        ]
    )
    assert project.noise("test_table[plain].jsonl") == [None, None]


def test_who_asks_for_a_baseline_only_while_it_runs_is_told(project):
    late = """
@pytest.mark.capture("relu")
def test_late(model, photo, feature_maps, request):
    model(photo)
    assert feature_maps == request.getfixturevalue("feature_snapshot")
"""
    project.write(body=BODY + late)
    result = project.measure()
    assert result.parseoutcomes()["failed"] == 2
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_late[[]plain] asks for feature_snapshot only while it runs, and "
            "--featuremaps-noise has to know before which tests compare.",
            "Make feature_snapshot an argument of the test, or of a fixture that it uses.",
        ],
        consecutive=True,
    )


def test_noise_without_an_update_is_a_usage_error(project):
    project.write()
    for others in ([], ["--snapshot-update-new-only"], ["-p", "no:syrupy"]):
        result = project.run("--featuremaps-noise", *others)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert result.errlines[0] == (
            "ERROR: --featuremaps-noise records noise in baselines, and nothing is recorded in "
            "this run: say --snapshot-update as well"
        )


def test_a_run_that_only_collects_is_not_run_twice(project, pytester):
    project.write()
    result = project.measure("--collect-only")
    assert "measuring noise" not in result.stdout.str()
    assert (pytester.path / "starts").read_text() == "None None None\n"
    assert not list((pytester.path / "temporary").iterdir())
