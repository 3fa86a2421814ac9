"""What pytest loads: the mark, the options, the fixtures and the hooks.

Nothing heavier than pytest is imported here until a test asks for a fixture: a plugin is
loaded into every run of its environment.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_featuremaps.runs.collected import fixture_names, has_baseline, keep_only
from pytest_featuremaps.runs.invocation import (
    AGAINST,
    INSTRUCTIONS,
    NOISE_INTO,
    TEST_FILES,
    TOLERANCE,
)
from pytest_featuremaps.session import comparisons, reporting, reviewing
from pytest_featuremaps.session.marks import (
    MAPS,
    MARK,
    MARK_HELP,
    MODEL,
    SHAPES,
    Capturing,
    model_of,
    order_fixtures,
    unrequested,
)

if TYPE_CHECKING:
    from pytest_featuremaps.recording.recording import Recording
    from pytest_featuremaps.snapshots.feature_snapshot import FeatureSnapshot

_CAPTURING = pytest.StashKey[Capturing]()


@pytest.fixture
def feature_maps(request: pytest.FixtureRequest) -> Recording:
    """Feature maps of the modules that the test's `capture` marks name, as they are recorded.

    The hooks go on right after the model's fixture and come off before it is torn down:

        @pytest.mark.capture("small_model.conv2")
        def test_conv2(model, photo, feature_maps):
            model(photo)
            feature_maps["small_model.conv2"].assert_shape("N 128 H W")
    """
    capturing = _capturing(request.node)
    for fixture, marks in capturing.marks.items():
        capturing.require(fixture, model_of(request, fixture, marks[0]))
    return capturing.recording


@pytest.fixture
def shapes_only() -> Iterator[None]:
    """Tensors without values for the whole test, so that a model of any size builds and runs.

    It is set up first: the model's fixture builds a model of shapes, and the test runs it.

        @pytest.mark.capture("**.q_proj")
        def test_llama(shapes_only, model, input_ids, feature_maps):
            model(input_ids)
            feature_maps["layers.0.q_proj"].assert_shape("N L 8192")
    """
    from pytest_featuremaps.recording.fake import shapes_only

    with shapes_only():
        yield


@pytest.fixture
def feature_snapshot(request: pytest.FixtureRequest) -> FeatureSnapshot:
    """The committed baseline of this test, to compare feature maps with.

    All captured maps are compared as a table of numbers, one map as a picture of its
    channels; `pytest --snapshot-update` records what changed:

        assert feature_maps == feature_snapshot
        assert feature_maps["small_model.conv2"] == feature_snapshot
    """
    return comparisons.snapshot_of(request)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini options and the options of the command line."""
    parser.addini(
        MODEL,
        "The fixture that gives the model under test, for capture marks without model=.",
        default="model",
    )
    parser.addini(
        TOLERANCE,
        "How much feature maps may differ from their baselines: exact, cpu, gpu, half, or a "
        "relative L2 change. By default it follows from the dtype and the device of each map.",
    )
    parser.addini(
        TEST_FILES,
        "Patterns of paths that are test code as well, for --featuremaps-against.",
        type="args",
        default=[],
    )
    group = parser.getgroup("featuremaps", "feature maps of PyTorch models")
    reviewing.add_options(group)
    group.addoption(
        "--featuremaps-tolerance",
        metavar="TOLERANCE",
        help="How much feature maps may differ in this run: exact, cpu, gpu, half, or a relative "
        f"L2 change. It overrides the ini option {TOLERANCE}.",
    )
    group.addoption(
        "--featuremaps-against",
        dest=AGAINST,
        metavar="REV",
        help="Compare with the code of this git revision, which runs the same tests on this "
        "machine, instead of with baselines.",
    )
    group.addoption(
        "--featuremaps-noise",
        action="store_true",
        help="With --snapshot-update: run the tests once more, under the lowest CPU capability, "
        "and record how far each feature map drifts; its tolerance follows from that.",
    )
    group.addoption(
        "--featuremaps-noise-into", dest=NOISE_INTO, metavar="FOLDER", help=argparse.SUPPRESS
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """In a run at another revision, keep the checkout's modules out from the very start."""
    if INSTRUCTIONS in os.environ:
        from pytest_featuremaps.against import instructions

        instructions.install_guard(instructions.read())


@pytest.hookimpl(trylast=True)  # after what chooses seeds
def pytest_configure(config: pytest.Config) -> None:
    """Register the mark; where baselines are updated, guard those that are not asked for."""
    config.addinivalue_line("markers", MARK_HELP)
    reviewing.check_options(config)
    comparisons.check_tolerance(config)
    comparisons.choose_store(config)
    if config.getoption("featuremaps_noise"):
        from pytest_featuremaps.session import noise_plugin

        noise_plugin.set_up(config)
    if config.getoption("update_snapshots", default=False):
        from pytest_featuremaps.session.cleaning import Cleaning

        config.pluginmanager.register(Cleaning(config), "featuremaps-cleaning")


@pytest.hookimpl(tryfirst=True)  # before tests are deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set `feature_maps` up right after the models; mark tests with a baseline for syrupy."""
    for item in items:
        order_fixtures(item)
    comparisons.note_tests(config, items)
    if config.getoption(NOISE_INTO):
        keep_only(config, items, has_baseline)
    else:
        reviewing.sweep(config, items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Take hooks off even where the run is interrupted and no teardown follows."""
    try:
        return (yield)
    finally:
        _end(item)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look at the test's marks before its first fixture is set up, unless it is skipped."""
    if item.config.getoption("setupplan", default=False):
        return
    if MAPS in fixture_names(item):
        item.config.stash[_CAPTURING] = _capturing(item)
    elif any(mark.name == MARK for mark in item.own_markers):
        pytest.fail(unrequested(item), pytrace=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Put the hooks on right after the model's fixture, before what depends on it."""
    if SHAPES in request.fixturenames and fixturedef.scope != "function":
        # It outlives the test, and the tests that come after want real tensors.
        from pytest_featuremaps.recording.fake import suspended

        with suspended():
            return (yield)
    capturing = request.config.stash.get(_CAPTURING, None)
    if capturing is None:
        return (yield)
    try:
        for fixture in capturing.marks:
            if fixture in fixturedef.argnames and fixture != fixturedef.argname:
                capturing.require(fixture, request.getfixturevalue(fixture))
    except BaseException as error:
        # As pytest notes a fixture that failed: the next test could not set it up otherwise.
        key = getattr(request, "param", None)
        fixturedef.cached_result = (None, key, (error, error.__traceback__))
        raise
    value = yield
    if fixturedef.argname in capturing.marks:
        capturing.attach(fixturedef.argname, value)
    return value


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Let a body that is run again inside one fixture's life start as it did at first."""
    capturing = pyfuncitem.stash.get(_CAPTURING, None)
    if capturing is not None:
        capturing.begin_body()
    comparisons.begin_body(pyfuncitem)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Intercept functional calls; fail a test that would pass on silence, or on a difference."""
    capturing = item.stash.get(_CAPTURING, None)
    if capturing is None:
        yield
    else:
        with capturing.recorder.interception():
            yield
        silence = capturing.recorder.silence()
        if silence:
            pytest.fail(silence, pytrace=False)
    comparisons.check_asserted(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Take the hooks off before any fixture is torn down."""
    _end(item)
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach what was captured to the report, and the whole story of each failed comparison."""
    capturing = item.stash.get(_CAPTURING, None) if call.when == "call" else None
    if capturing is not None:
        failed = call.excinfo is not None
        reporting.write_properties(item, capturing.recording, measure=failed)
    report = yield
    if capturing is not None:
        reporting.tell_maps(report, capturing.recording)
    comparisons.settle(item, report)
    reporting.tell_comparisons(report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page of what waits for review."""
    reviewing.write_page(session.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Sum failed baselines up: how many maps changed, where first, and what to type next."""
    if hasattr(terminalreporter.config, "workerinput"):  # nobody sees what a worker writes
        return
    reporting.tell_summary(terminalreporter)
    comparisons.tell_gaps(terminalreporter)
    reviewing.tell_page(terminalreporter)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say what differs, in place of two representations."""
    return comparisons.explain(op, left, right)


def _capturing(item: pytest.Item) -> Capturing:
    if _CAPTURING not in item.stash:
        item.stash[_CAPTURING] = Capturing(item)
    return item.stash[_CAPTURING]


def _end(item: pytest.Item) -> None:
    """Close a test's recording, and keep nothing of it."""
    capturing = item.stash.get(_CAPTURING, None)
    if capturing is not None:
        capturing.recorder.close()
        del item.stash[_CAPTURING]
    if _CAPTURING in item.config.stash:
        del item.config.stash[_CAPTURING]
