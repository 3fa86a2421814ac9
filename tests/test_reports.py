"""What a failing check looks like to whoever reads it: the first line, JUnit XML, sections."""

from xml.etree import ElementTree as ET

import pytest

from pytest_featuremaps.maps import values

BROKEN = """
@pytest.mark.capture("**")
def test_shapes(output, feature_maps):
    feature_maps.assert_shapes({"small_model.conv1": "N 4 H W", "relu": "N 8 H W"})

@pytest.mark.capture("**")
def test_numbers(output, feature_maps):
    feature_maps["relu"].assert_stats(count=1, min=(0, None))

@pytest.mark.capture("relu")
def test_dead(model, photo, feature_maps):
    torch.nn.init.constant_(model.small_model.conv2.bias, -100)
    model(photo)
    feature_maps["relu"].assert_no_dead_channels()

@pytest.mark.capture("**")
def test_healthy(model, photo, feature_maps):
    torch.nn.init.constant_(model.small_model.conv2.bias, -100)
    model(photo)
    feature_maps.assert_healthy()
"""

FIRST_LINES = {
    "shapes": "relu (ReLU): dimension 2 (H) is 8, but H = 10 from small_model.conv1, dimension 2; "
    "dimension 3 (W) is 8, but W = 10 from small_model.conv1, dimension 3.",
    "numbers": "relu (ReLU): count is 512, allowed 1.",
    "dead": "relu (ReLU): 8 of 8 channels are dead: 0, 1, 2, 3, 4, 5, 6, 7.",
    "healthy": "relu (ReLU) has 8 of 8 channels that are dead: zero throughout.",
}


@pytest.mark.parametrize("style", ["auto", "short"])
def test_the_first_line_alone_says_what_is_wrong(write, pytester, monkeypatch, style):
    monkeypatch.setenv("COLUMNS", "250")
    write(BROKEN)
    result = pytester.runpytest("-q", f"--tb={style}", "--junitxml=junit.xml")
    result.assert_outcomes(failed=4)
    failures = ET.parse(pytester.path / "junit.xml").iter("failure")  # noqa: S314 - written by this run
    messages = [one.get("message").splitlines()[0] for one in failures]
    assert messages == [f"AssertionError: {line}" for line in FIRST_LINES.values()]
    for name, line in FIRST_LINES.items():
        assert f"FAILED test_it.py::test_{name} - AssertionError: {line}" in result.outlines
        assert f"E   {'' if style == 'short' else '    '}AssertionError: {line}" in result.outlines


def test_the_traceback_ends_at_the_users_line(write, pytester):
    write(BROKEN)
    result = pytester.runpytest("-q", "--tb=short")
    places = [line for line in result.outlines if ": in " in line]
    assert [place.partition(": in ")[2] for place in places] == [
        f"test_{name}" for name in FIRST_LINES
    ]
    assert all(place.startswith("test_it.py:") for place in places)


SLIPS = {
    "missing": ('feature_maps["nope"]', "There is no feature map 'nope'."),
    "missing_of_many": (
        'feature_maps.assert_shapes({"nope": "N"})',
        "There is no feature map 'nope'.",
    ),
    "comma": (
        'feature_maps["relu"].assert_shape("N,C")',
        '`N,C` has a comma: tokens are separated by spaces, as in "N 128 H W"',
    ),
    "unbound": (
        'feature_maps.assert_shapes({"relu": "H/2 H"})',
        "`H/2` uses `H`, which only a later token binds: a spec is read from left to right",
    ),
    "statistic": (
        'feature_maps["relu"].assert_stats(median=1)',
        "There is no statistic 'median'. There are: mean, std, min, max, rms, zero_fraction, "
        "nan_count, inf_count, count.",
    ),
    "limit": (
        "feature_maps.assert_healthy(nan=True)",
        "nan=True: it is a number, or None to switch the check off.",
    ),
    "inputs": ('feature_maps["relu"].inputs', "relu (ReLU) was captured without its inputs."),
    "shapes": (
        "feature_maps.assert_finite()",
        'relu (ReLU) was captured with keep="shapes", so its values are gone.',
    ),
    "statistics": (
        'feature_maps["relu"].stats',
        'relu (ReLU) was captured with keep="shapes", so its values are gone.',
    ),
}


def test_a_slip_is_told_at_the_users_line(write, pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    keep = {"shapes": "shapes", "statistics": "shapes"}
    write(
        "".join(
            f"""
@pytest.mark.capture("relu", keep="{keep.get(name, "values")}")
def test_{name}(output, feature_maps):
    {call}
"""
            for name, (call, _) in SLIPS.items()
        )
    )
    result = pytester.runpytest("-q", "--tb=line")
    places = [line for line in result.outlines if line.startswith(f"{pytester.path}")]
    assert [place.partition(": ")[2].partition(": ")[2] for place in places] == [
        text for _, text in SLIPS.values()
    ]
    assert all("test_it.py:" in place for place in places)


NO_PICTURES = {
    "readings": ('block.image()', "block (Block) has shape (1, 9, 4), which can be"),
    "layout": ('block.image(layout="NHWC")', "block (Block) has shape (1, 9, 4): layout 'NH"),
    "no_layout": ('block.image(layout="X")', "image(layout='X'): 'X' is none of its letters"),
    "channel": ('block.image(layout="NLC", channels=[9])', "block (Block): there is no channel 9"),
    "channels": ('block.image(layout="NLC", channels=3)', "channels=3: it takes their numbers"),
    "scale": ('block.image(layout="NLC", scale=0)', "scale is 0, but a picture is only ever"),
    "large": ('block.image(layout="NLC", scale=99999)', "scale is 99999, which makes a picture of"),
    "words": ('block.image(layout="NLC", words=["a"])', "words= holds 1 words for 9 columns"),
    "over": ('block.save("a.png", layout="NLC", over=torch.rand(1, 3, 3))', "over= lies under the"),
    "colours": ('block.image(layout="NLC", colours="rainbow")', "colours='rainbow': it is one of"),
    "sheet": ('feature_maps.sheet(layout="X")', "sheet(layout='X'): 'X' is none of its letters"),
    "components": ('feature_maps.sheet(colours="pca")', "colours='pca' is one picture of all"),
    "sample": ('block.image(layout="NLC", sample=1)', "block (Block) has no sample 1"),
    "files": ('block.save_channels("folder")', "block (Block) has shape (1, 9, 4), which can be"),
}  # fmt: skip


def test_a_picture_that_there_is_not_is_told_at_the_users_line(write, pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    write(
        """
class Block(nn.Module):
    def forward(self, x):
        return x + 1

@pytest.fixture
def model():
    return nn.ModuleDict({"block": Block()})
"""
        + "".join(
            f"""
@pytest.mark.capture("block")
def test_{name}(model, feature_maps):
    model["block"](torch.rand(1, 9, 4))
    block = feature_maps["block"]
    {call}
"""
            for name, (call, _) in NO_PICTURES.items()
        )
    )
    result = pytester.runpytest("-q", "--tb=short")
    places = [line.partition(": in ")[2] for line in result.outlines if ": in " in line]
    assert places == [f"test_{name}" for name in NO_PICTURES]
    for _, message in NO_PICTURES.values():
        assert any(f"Error: {message}" in line for line in result.outlines), message


HOSTILE = ["a\x1b[31m", "b\nc", "<d>&\"'", "e" * 3000, "\u202ef", "\x00g", "\ud800", "#0[1]"]


def test_hostile_names_of_layers_stay_on_their_line(write, pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    write(
        f"""
        @pytest.fixture
        def model():
            net = nn.Sequential()
            for name in {HOSTILE!r}:
                net.add_module(name, nn.Identity())
            return net

        @pytest.mark.capture("*")
        def test_it(model, feature_maps):
            model(torch.ones(2, 3) / 0)
            print(feature_maps.summary(as_specs=True))
            feature_maps.assert_healthy()

        @pytest.mark.capture("*")
        def test_shapes(model, feature_maps):
            model(torch.ones(2, 3))
            feature_maps.assert_shapes(dict.fromkeys(feature_maps, "N 4"))
        """
    )
    result = pytester.runpytest("-q", "--junitxml=junit.xml")
    result.assert_outcomes(failed=2)
    assert all(line.isprintable() for line in result.outlines)
    assert any(r"a\x1b[31m#0 (Identity) holds 6 Inf" in line for line in result.outlines)
    assert r"""        'b\nc': "N 3",""" in result.outlines
    for attached in properties(pytester).values():
        names = [name.removeprefix("feature map ") for name, _ in attached]
        assert names[:3] == [r"a\x1b[31m#0", r"b\nc", HOSTILE[2]]
        assert all(len(name) <= 160 and name.isprintable() for name in names)


def properties(pytester, name="junit.xml"):
    """The properties of each test, by its name."""
    cases = ET.parse(pytester.path / name).iter("testcase")  # noqa: S314 - written by this run
    return {
        case.get("name"): [(one.get("name"), one.get("value")) for one in case.iter("property")]
        for case in cases
    }


REPORTED = """
@pytest.mark.capture("small_model.*")
def test_passing(output, feature_maps):
    feature_maps["small_model.conv2"].stats

@pytest.mark.capture("relu")
def test_failing(output, feature_maps, request):
    request.node.user_properties.append(("mine", 1))
    assert not output.sum()

def test_without(output):
    pass

def test_nothing_recorded(output, feature_maps):
    assert not output.sum()
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["here", "two workers"])
def test_what_was_captured_is_attached_to_the_report(write, pytester, workers):
    write(REPORTED)
    result = pytester.runpytest("--junitxml=junit.xml", *workers)
    result.assert_outcomes(passed=2, failed=2)
    attached = properties(pytester)
    assert attached["test_passing"][0] == (
        "feature map small_model.conv1",
        "Conv2d 1×4×10×10 float32",
    )
    name, value = attached["test_passing"][1]
    assert name == "feature map small_model.conv2"
    assert value.startswith("Conv2d 1×8×8×8 float32 mean=")
    (mine, (name, value)) = attached["test_failing"]
    assert mine == ("mine", "1")
    assert name == "feature map relu"
    assert [part.partition("=")[0] for part in value.split()] == [
        *["ReLU", "1×8×8×8", "float32", "mean", "std", "min", "max", "zeros"]
    ]
    assert attached["test_without"] == attached["test_nothing_recorded"] == []
    text = result.stdout.str()
    assert text.count("- feature maps -") == 1
    result.stdout.fnmatch_lines(["*- feature maps -*", "feature map  module  shape *", "relu *"])


def test_a_report_holds_fifty_maps(write, pytester):
    write(
        """
        @pytest.mark.parametrize("fails", [False, True])
        def test_many(feature_maps, fails):
            net = nn.Sequential(*(nn.Identity() for _ in range(60)))
            feature_maps.attach(net, "*")
            net(torch.ones(2))
            assert not fails
        """
    )
    result = pytester.runpytest("--junitxml=junit.xml")
    for attached in properties(pytester).values():
        assert len(attached) == 51
        assert attached[-1] == ("feature maps left out", "10")
    result.stdout.fnmatch_lines(["49 *", "and 10 more"])


def test_a_test_that_is_run_again_is_reported_once(write, pytester):
    pytest.importorskip("pytest_rerunfailures")
    write(REPORTED)
    pytester.runpytest("--junitxml=junit.xml", "--reruns", "1", "-p", "no:xdist")
    attached = properties(pytester)["test_failing"]
    assert [name for name, _ in attached].count("feature map relu") == 1


def test_a_model_of_shapes_is_reported_without_numbers(write, pytester):
    write(
        """
        @pytest.mark.capture("relu")
        def test_it(shapes_only, model, feature_maps):
            model(torch.zeros(1, 3, 12, 12))
            assert False
        """
    )
    result = pytester.runpytest("--junitxml=junit.xml")
    result.assert_outcomes(failed=1)
    (attached,) = properties(pytester).values()
    assert attached[0][1].startswith("ReLU 1×8×8×8 float32")


def test_a_passing_test_takes_no_statistics(write, pytester, monkeypatch):
    taken = []
    whole = values.summarise
    monkeypatch.setattr(values, "summarise", lambda *args: taken.append(args) or whole(*args))
    write(REPORTED)
    pytester.runpytest("--junitxml=junit.xml", "-k", "test_passing").assert_outcomes(passed=1)
    assert len(taken) == 1  # what the test itself asks for
    pytester.runpytest("-k", "test_failing").assert_outcomes(failed=1)
    assert len(taken) == 2


SOFT = """
@pytest.mark.capture("**")
def test_it(output, feature_maps, {fixture}):
    specs = {{"relu": "N 9 _ _", "small_model": "N 8 _ _", "small_model.conv1": "N"}}
    for key, spec in specs.items():
        with {context}:
            feature_maps[key].assert_shape(spec)
"""
SOFT_LINES = [
    "relu (ReLU): dimension 1 is 8, expected 9.",
    "small_model.conv1 (Conv2d): 4 dimensions, expected 1.",
]


def test_every_subtest_that_fails_is_told(write, pytester):
    pytest.importorskip("_pytest.subtests")
    write(SOFT.format(fixture="subtests", context="subtests.test(layer=key)"))
    result = pytester.runpytest("-q", "--tb=line")
    told = [line.partition("AssertionError: ")[2] for line in result.outlines if "E   A" in line]
    assert told == SOFT_LINES


def test_so_is_every_soft_check(write, pytester):
    pytest.importorskip("pytest_check")
    write(SOFT.format(fixture="check", context="check"))
    result = pytester.runpytest("-q")
    result.assert_outcomes(failed=1)
    for line in SOFT_LINES:
        assert f"FAILURE: {line}" in result.outlines


def test_soft_assertions_collect_what_checks_raise(write, pytester):
    write(
        """
        from contextlib import contextmanager

        @contextmanager
        def check(failures):
            try:
                yield
            except AssertionError as error:
                failures.append(type(error))

        @pytest.mark.capture("relu")
        def test_it(output, feature_maps):
            failures = []
            with check(failures):
                feature_maps["relu"].assert_shape("N")
            with check(failures):
                feature_maps["relu"].assert_stats(count=1)
            with check(failures):
                feature_maps.assert_shapes({"relu": "N"})
            assert failures == [AssertionError] * 3
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)
