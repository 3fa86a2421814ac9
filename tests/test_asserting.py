"""A comparison that differed in a test that passes: its assert was forgotten."""

import pytest

BODY = """
def same(maps, snapshot):
    return maps == snapshot

@pytest.fixture
def changed(model, photo):
    model.small_model.conv2.weight.data *= {gain}
    model.small_model.conv2.bias.data *= {gain}
    return model(photo)

@pytest.mark.capture("small_model.*")
def test_it(changed, feature_maps, feature_snapshot):
{body}

def test_other():
    pass
"""
ASSERTED = "assert feature_maps == feature_snapshot"
FORGOTTEN = {
    "a statement": "feature_maps == feature_snapshot",
    "a helper": "same(feature_maps, feature_snapshot)",
    "a picture": "feature_maps['small_model.conv2'] == feature_snapshot",
    "caught": f"""
try:
    {ASSERTED}
except AssertionError:
    pass
""",
    "not": "assert not feature_maps == feature_snapshot",
    "raises": f"""
with pytest.raises(AssertionError):
    {ASSERTED}
""",
}
HELD = {
    "asserted": ASSERTED,
    "by a helper": "assert same(feature_maps, feature_snapshot)",
    "later": """
results = [feature_maps == feature_snapshot]
results.append(feature_maps["small_model.conv2"] == feature_snapshot)
assert all(results)
""",
    "by hand": """
if not feature_maps == feature_snapshot:
    pytest.fail("small_model.conv2 changed")
""",
}


@pytest.fixture
def project(pytester, write):
    """A test with one body, whose model can be changed."""

    class Project:
        output = pytester.path / ".featuremaps"

        def write(self, body, gain=1, **files):
            body = "\n".join(f"    {line}" for line in body.strip().splitlines())
            write(BODY.format(body=body, gain=gain), **files)

        def run(self, *arguments):
            return pytester.runpytest("-p", "no:cacheprovider", "-p", "no:torch", *arguments)

        def change(self, body):
            """Record what the body compares, then change the model."""
            self.write(body)
            self.run("--snapshot-update")
            self.write(body, gain=2)

    return Project()


def lines_after(result, title):
    start = next(i for i, line in enumerate(result.outlines) if title in line)
    return result.outlines[start + 1 :]


@pytest.mark.parametrize("body", FORGOTTEN.values(), ids=list(FORGOTTEN))
def test_a_forgotten_assert_fails(project, body):
    project.change(body)
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    first, *rest = lines_after(result, "___ test_it ___")[:4]
    assert first.startswith("small_model.conv2 changed")
    assert rest == [
        "The test compared this, and passed all the same. Nothing asserts what it found:",
        "    assert feature_maps == feature_snapshot",
        "To expect a difference, ask pytest_featuremaps.compare(reference, candidate) for it.",
    ]
    result.stdout.fnmatch_lines(
        [
            "*- feature baseline test_it*",
            "*- feature maps to review -*",
            "1 feature map changed in 1 test",
            "FAILED test_it.py::test_it - Failed: small_model.conv2 changed*",
        ]
    )
    assert project.output.exists()


@pytest.mark.parametrize("body", HELD.values(), ids=list(HELD))
def test_what_asserts_is_left_alone(project, body):
    project.change(body)
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    assert "passed all the same" not in result.stdout.str()
    project.run("--snapshot-update").assert_outcomes(passed=2)
    project.run().assert_outcomes(passed=2)


BARE = {
    "a name": ("same = feature_maps == feature_snapshot\nassert same", "assert False"),
    "all": ("results = [feature_maps == feature_snapshot]\nassert all(results)", "assert False"),
    "not": ("other = not feature_maps == feature_snapshot\nassert not other", "assert not True"),
    "raised": (
        "if not feature_maps == feature_snapshot:\n    raise AssertionError",
        "AssertionError",
    ),
}


@pytest.mark.parametrize(("body", "says"), BARE.values(), ids=list(BARE))
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_the_one_line_of_a_bare_assert_names_the_layer(project, monkeypatch, body, says, workers):
    monkeypatch.setenv("COLUMNS", "140")
    project.change(body)
    result = project.run(*workers)
    layer = "small_model.conv2 changed first: relative L2 change *"
    result.stdout.fnmatch_lines([f"FAILED test_it.py::test_it - {says}: {layer}"])


def test_another_failure_keeps_its_line(project):
    project.change("same = feature_maps == feature_snapshot\nassert 1 == 2, same")
    result = project.run()
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_it - AssertionError: False"])


@pytest.mark.parametrize("ending", ["pytest.skip('not here')", "pytest.xfail('some day')"])
def test_a_test_that_does_not_pass_says_why_itself(project, ending):
    body = f"if not feature_maps == feature_snapshot:\n    {ending}"
    project.change(body)
    outcomes = project.run().parseoutcomes()
    assert outcomes in ({"skipped": 1, "passed": 1}, {"xfailed": 1, "passed": 1}), outcomes


def test_one_that_is_expected_to_fail_does(project):
    project.change("feature_maps == feature_snapshot")
    project.write(
        "feature_maps == feature_snapshot",
        gain=2,
        conftest="""
def pytest_collection_modifyitems(items):
    items[0].add_marker(pytest.mark.xfail(strict=True))
""",
    )
    project.run().assert_outcomes(xfailed=1, passed=1)


def test_workers_and_missing_baselines(project):
    project.write("feature_maps == feature_snapshot")
    result = project.run("-n", "2")
    result.assert_outcomes(failed=1, passed=1)
    assert lines_after(result, "___ test_it ___")[1:3] == [
        "test_it.jsonl: there is no baseline yet",
        "The test compared this, and passed all the same. Nothing asserts what it found:",
    ]


def test_a_body_that_is_tried_again_and_passes(project):
    """The first try has asserted what it found, so the second one alone counts."""
    body = ASSERTED
    project.change(body)
    project.write(
        body,
        gain=2,
        conftest="""
@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if item.name != "test_it":
        return (yield)
    with pytest.raises(AssertionError):
        item.runtest()
    item.funcargs["feature_maps"]["small_model.conv2"].tensor.zero_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item.funcargs["feature_snapshot"], "_options", ANY)
        yield

from pytest_featuremaps.snapshots.options import ComparisonOptions
from pytest_featuremaps.baseline.tolerances import Tolerance
ANY = ComparisonOptions(tolerance=Tolerance(relative_l2=9.0, fraction=1.0))
""",
    )
    project.run().assert_outcomes(passed=2)
