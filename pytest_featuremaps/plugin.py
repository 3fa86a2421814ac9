"""The door for pytest: the mark, the options, the fixtures and the reports.

Nothing heavier than pytest is imported here until a test asks for a fixture: a plugin is
loaded into every run of its environment.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_featuremaps import orders
from pytest_featuremaps.invocation import AGAINST, TOLERANCE, accept_command, run_tolerance

if TYPE_CHECKING:
    from pytest_featuremaps.extensions import Verdict
    from pytest_featuremaps.recording import Moment, Recording
    from pytest_featuremaps.snapshots import Claims, FeatureSnapshot, Run, Store

MARK = "capture"
MAPS = "feature_maps"
SNAPSHOT = "feature_snapshot"
SHAPES = "shapes_only"
MODEL = "featuremaps_model"
OUTPUT = "featuremaps_output"
REPORT = "featuremaps_report"
TEST_FILES = "featuremaps_test_files"

# A report holds the numbers of this many maps: taking and sending them costs time.
_MOST_MAPS = 50

_MARK_OPTIONS = (
    "where",
    "model",
    "inputs",
    "grads",
    "keep",
    "channels",
    "layout",
    "required",
)
_MARK_HELP = (
    "capture(*targets, where=None, model='model', inputs=False, grads=False, keep='values', "
    "channels=False, layout=None, required=True): record what these modules of the model return, "
    "for the feature_maps fixture. A target is a module path ('features.3'), a glob ('**.conv1'), "
    "a compiled regular expression or a functional call ('block.add()'); where= narrows by class "
    "or predicate; model= names the fixture that gives the model."
)


class _Capturing:
    """The recording of the test that runs, and the models that its marks name."""

    def __init__(self, item: pytest.Item) -> None:
        from pytest_featuremaps.recording import Recording

        self.recording: Recording = Recording(
            sketched=SNAPSHOT in _fixture_names(item), intercepting=False
        )
        self.marks: dict[str, list[pytest.Mark]] = {}
        self._met: dict[str, object] = {}
        self._wrong: dict[str, str] = {}
        self._start: Moment | None = None
        default = item.config.getini(MODEL)
        for mark in reversed(list(item.iter_markers(MARK))):
            _check_options(mark)
            self.marks.setdefault(mark.kwargs.get("model", default), []).append(mark)

    def meet(self, fixture: str, model: object) -> None:
        """Put hooks on a model as soon as its fixture has made it.

        A fixture that overrides another of its name is met twice, perhaps with the same model
        changed. The later value is the one that tests see, so what is wrong with a value is
        told only when it is used.
        """
        if fixture in self._met:
            self.recording.detach(fixture)
        self._met[fixture] = model
        reasons = [_attach(self.recording, mark, fixture, model) for mark in self.marks[fixture]]
        self._wrong[fixture] = "\n".join(filter(None, reasons))

    def use(self, fixture: str, model: object) -> None:
        """Meet a model that is about to be used, and fail where that was not possible."""
        if fixture not in self._met or self._met[fixture] is not model:
            self.meet(fixture, model)
        if self._wrong[fixture]:
            pytest.fail(self._wrong[fixture], pytrace=False)

    def begin_body(self) -> None:
        """Start every run of the test's body from what was recorded before the first."""
        if self._start is None:
            self._start = self.recording.moment()
        else:
            self.recording.rewind(self._start)


_CAPTURING = pytest.StashKey[_Capturing]()
_FILES: pytest.StashKey[dict[str, tuple[str, str]]] = pytest.StashKey()
_ALIKE: pytest.StashKey[dict[str, set[str]]] = pytest.StashKey()
_CLAIMED: pytest.StashKey[Claims] = pytest.StashKey()
_FAILURES: pytest.StashKey[list[Verdict]] = pytest.StashKey()
_AGREEMENTS: pytest.StashKey[list[str]] = pytest.StashKey()
_STORE: pytest.StashKey[Callable[[pytest.Item], Store]] = pytest.StashKey()


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
        capturing.use(fixture, _fixture_value(request, fixture, marks[0]))
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
    from pytest_featuremaps.fake import shapes_only

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
    from pytest_featuremaps.rehearsing import rehearsal_of
    from pytest_featuremaps.snapshots import Claims, FeatureSnapshot, Run

    _check_case(request.node)
    files = request.config.stash.setdefault(_FILES, {})
    claims = Claims(files, request.node.nodeid)
    tolerance, source = run_tolerance(request.config)
    run = Run(
        accept=accept_command(request.config, request.node.nodeid),
        updates=request.config.getoption("update_snapshots", default=False),
        tolerance=tolerance,
        source=source,
        rehearsal=rehearsal_of(request.config),
    )
    baseline = FeatureSnapshot(_store(request, run), claims, run)
    request.node.stash[_CLAIMED] = claims
    request.node.stash[_FAILURES] = baseline.failures
    request.node.stash[_AGREEMENTS] = baseline.agreements
    return baseline


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
    group.addoption(
        "--featuremaps-output",
        dest=OUTPUT,
        metavar="DIR",
        help="Where failed comparisons leave pictures and numbers to review; "
        ".featuremaps at the root directory by default.",
    )
    group.addoption(
        "--featuremaps-report",
        dest=REPORT,
        metavar="FILE.html",
        help="Write what waits for review as one page, which needs no network.",
    )
    group.addoption(
        "--featuremaps-tolerance",
        metavar="TOLERANCE",
        help=f"The same for one run, instead of {TOLERANCE}.",
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
    group.addoption("--featuremaps-rehearse-into", metavar="FOLDER", help=argparse.SUPPRESS)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """In a run at another revision, keep the checkout's modules out from the very start."""
    told = orders.read()
    if told:
        orders.stand_guard(told)


@pytest.hookimpl(trylast=True)  # after what chooses seeds
def pytest_configure(config: pytest.Config) -> None:
    """Register the mark; where baselines are updated, guard those that are not asked for."""
    config.addinivalue_line("markers", _MARK_HELP)
    snapshots = config.getoption("snapshot_dirname", default="__snapshots__")
    if snapshots in _output(config).parts:
        raise pytest.UsageError(
            f"--featuremaps-output={config.getoption(OUTPUT)} is inside {snapshots}, which holds "
            "baselines: choose a folder elsewhere"
        )
    _check_tolerance(config)
    _look_at_revisions(config)
    if config.getoption("featuremaps_noise"):
        from pytest_featuremaps.rehearsing import rehearse

        rehearse(config)
    if config.getoption("update_snapshots", default=False):
        from pytest_featuremaps.cleaning import Cleaning

        config.pluginmanager.register(Cleaning(config), "featuremaps-cleaning")


@pytest.hookimpl(tryfirst=True)  # before tests are deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set `feature_maps` up right after the models; mark tests with a baseline for syrupy."""
    for item in items:
        _order_fixtures(item)
    _sweep_results(config, items)
    # syrupy has no part in a comparison with a revision.
    marks = config.getini("markers") if _STORE not in config.stash else []
    if any(line.startswith("syrupy_snapshot") for line in marks):
        for item in items:
            if SNAPSHOT in _fixture_names(item):
                item.add_marker("syrupy_snapshot")
    # Here, because a worker of xdist collects all tests, but runs only some of them.
    alike = config.stash.setdefault(_ALIKE, {})
    for item in items:
        alike.setdefault(item.nodeid.casefold(), set()).add(item.nodeid)
    if config.getoption("featuremaps_rehearse_into"):
        _deselect_without_baseline(config, items)


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
    if MAPS in _fixture_names(item):
        item.config.stash[_CAPTURING] = _capturing(item)
    elif any(mark.name == MARK for mark in item.own_markers):
        pytest.fail(
            f"{item.name} is marked with {MARK}, but does not request the {MAPS} fixture, so "
            f"nothing would be captured.\nAdd {MAPS} to its arguments, or take the mark off.",
            pytrace=False,
        )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Put the hooks on right after the model's fixture, before what depends on it."""
    if SHAPES in request.fixturenames and fixturedef.scope != "function":
        return (yield from _with_values())
    capturing = request.config.stash.get(_CAPTURING, None)
    if capturing is None:
        return (yield)
    try:
        for fixture in capturing.marks:
            if fixture in fixturedef.argnames and fixture != fixturedef.argname:
                capturing.use(fixture, request.getfixturevalue(fixture))
    except BaseException as error:
        # As pytest notes a fixture that failed: the next test could not set it up otherwise.
        key = getattr(request, "param", None)
        fixturedef.cached_result = (None, key, (error, error.__traceback__))
        raise
    value = yield
    if fixturedef.argname in capturing.marks:
        capturing.meet(fixturedef.argname, value)
    return value


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Let a body that is run again inside one fixture's life start as it did at first."""
    capturing = pyfuncitem.stash.get(_CAPTURING, None)
    if capturing is not None:
        capturing.begin_body()
    if _CLAIMED in pyfuncitem.stash:
        pyfuncitem.stash[_CLAIMED].begin_body()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Intercept functional calls; fail a test that would pass although a target is silent."""
    capturing = item.stash.get(_CAPTURING, None)
    if capturing is None:
        return (yield)
    with capturing.recording.interception():
        yield
    silence = capturing.recording.silence()
    if silence:
        pytest.fail(silence, pytrace=False)
    return None


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
    capturing = item.stash.get(_CAPTURING, None)
    if capturing is not None and call.when == "call":
        _write_properties(item, capturing.recording, measure=call.excinfo is not None)
    report = yield
    if capturing is not None and call.when == "call" and report.failed and capturing.recording:
        report.sections.append(("feature maps", capturing.recording.summary(most=_MOST_MAPS)))
    failures = item.stash.get(_FAILURES, [])
    if report.failed and failures:
        from pytest_featuremaps.recapping import attach

        attach(report, failures)
    if _FAILURES in item.stash:
        _leave_results(item, report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page of what waits for review, once all workers are done."""
    config = session.config
    asked = config.getoption(REPORT)
    if asked and not hasattr(config, "workerinput"):
        from pytest_featuremaps.review import folder, page

        path = config.invocation_params.dir / asked
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.write_whole(path, page.render(folder.read(_output(config)), _unused(config)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Sum failed baselines up: how many maps changed, where first, and what to type next."""
    config = terminalreporter.config
    if hasattr(config, "workerinput"):  # nobody sees what a worker writes
        return
    # A test that failed, then passed when it ran again, is under another name.
    kinds = ("failed", "error")
    if any(terminalreporter.stats.get(kind) for kind in kinds):
        from pytest_featuremaps.recapping import tell

        tell(
            terminalreporter,
            [one for kind in kinds for one in terminalreporter.stats.get(kind, [])],
        )
    asked = config.getoption(REPORT)
    if asked:
        path = config.invocation_params.dir / asked
        terminalreporter.write_line(f"feature maps to review: {path}")


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say what differs, in place of two representations."""
    for operand in (left, right):
        if type(operand).__module__ == "pytest_featuremaps.snapshots" and op == "==":
            failures: list[Verdict] = getattr(operand, "failures", [])
            return failures[-1].headline if failures else None
    return None


def _deselect_without_baseline(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests alone that compare with a baseline."""
    others = [item for item in items if SNAPSHOT not in _fixture_names(item)]
    items[:] = [item for item in items if SNAPSHOT in _fixture_names(item)]
    if others:
        config.hook.pytest_deselected(items=others)


def _check_tolerance(config: pytest.Config) -> None:
    tolerance, source = run_tolerance(config)
    if tolerance is None:
        return
    from pytest_featuremaps.errors import FeatureMapsError
    from pytest_featuremaps.tolerances import asked_for

    try:
        asked_for(tolerance)
    except FeatureMapsError as error:
        raise pytest.UsageError(f"{source}: {error}") from None


def _with_values() -> Generator[None, object, object]:
    """Set up a fixture that outlives the test with real tensors, for the tests that come after."""
    from pytest_featuremaps.fake import suspended

    with suspended():
        return (yield)


def _look_at_revisions(config: pytest.Config) -> None:
    """Let comparisons be recorded, or made with what was recorded at another revision."""
    name, told = config.getoption(AGAINST), orders.read()
    if told:
        from pytest_featuremaps.at_revision import Visitor

        visitor = Visitor(told)
        config.stash[_STORE] = visitor.store
        config.pluginmanager.register(visitor, "featuremaps-visitor")
    elif name is not None:
        from pytest_featuremaps.with_revision import begin

        config.stash[_STORE] = begin(config, name, _output(config)).store


def _capturing(item: pytest.Item) -> _Capturing:
    if _CAPTURING not in item.stash:
        item.stash[_CAPTURING] = _Capturing(item)
    return item.stash[_CAPTURING]


def _end(item: pytest.Item) -> None:
    """Close a test's recording, and keep nothing of it."""
    capturing = item.stash.get(_CAPTURING, None)
    if capturing is not None:
        capturing.recording.close()
        del item.stash[_CAPTURING]
    if _CAPTURING in item.config.stash:
        del item.config.stash[_CAPTURING]


def _write_properties(item: pytest.Item, recording: Recording, *, measure: bool) -> None:
    """Make each map a property of the report; those of an earlier run of the test go."""
    from pytest_featuremaps.summaries import PROPERTY, properties

    kept = [one for one in item.user_properties if not one[0].startswith(PROPERTY)]
    item.user_properties[:] = [
        *kept,
        *properties(recording, most=_MOST_MAPS, measure=measure),
    ]


def _leave_results(item: pytest.Item, report: pytest.TestReport) -> None:
    """Tell the story of each failed comparison, and keep what it leaves until it is decided."""
    from pytest_featuremaps import results

    failures, agreements = item.stash[_FAILURES], item.stash[_AGREEMENTS]
    place = _output(item.config), item.config.rootpath, item.nodeid
    passed = report.when == "call" and (report.passed or hasattr(report, "wasxfail"))
    results.settle(*place, agreements, passed=passed)
    agreements.clear()
    if report.failed and failures:
        for verdict in failures:
            story = "\n".join(verdict.story)
            report.sections.append((f"feature baseline {verdict.title}", story))
        left = results.keep(*place, failures)
        report.sections.append(("feature maps to review", "\n".join(left)))
        failures.clear()


def _unused(config: pytest.Config) -> list[str]:
    """Return the baselines of ours that syrupy found no test to ask for."""
    report = getattr(getattr(config, "_syrupy", None), "report", None)
    locations = [Path(one.location) for one in getattr(report, "unused", ())]
    ours = [path for path in locations if path.suffix in {".jsonl", ".png"}]
    return sorted(os.path.relpath(path, config.rootpath) for path in ours)


def _sweep_results(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take away what is left of tests that exist no more, where whole files were collected."""
    output = _output(config)
    in_part = config.option.collectonly or any("::" in argument for argument in config.args)
    if output.is_dir() and not in_part:
        from pytest_featuremaps.review import folder

        files = {item.nodeid.partition("::")[0] for item in items}
        tests = {item.nodeid for item in items if SNAPSHOT in _fixture_names(item)}
        folder.sweep(output, config.rootpath, files, tests)


def _output(config: pytest.Config) -> Path:
    """Return the folder for what runs leave; comparisons with a revision have one inside it."""
    asked = config.getoption(OUTPUT)
    output = config.invocation_params.dir / asked if asked else config.rootpath / ".featuremaps"
    return output if config.getoption(AGAINST) is None else output / "against"


def _fixture_names(item: pytest.Item) -> list[str]:
    names: list[str] = getattr(item, "fixturenames", [])
    return names


def _order_fixtures(item: pytest.Item) -> None:
    """Move `shapes_only` to the front, and `feature_maps` to right after the last model.

    A fixture of wider scope that runs a model's forward would come before it otherwise.
    """
    names = _fixture_names(item)
    if SHAPES in names:
        names.remove(SHAPES)
        names.insert(0, SHAPES)
    default = item.config.getini(MODEL)
    models = {mark.kwargs.get("model", default) for mark in item.iter_markers(MARK)}
    places = [number for number, name in enumerate(names) if name in models]
    if MAPS in names and places and names.index(MAPS) > max(places):
        names.remove(MAPS)
        names.insert(max(places) + 1, MAPS)


def _check_case(item: pytest.Item) -> None:
    """Refuse a test whose baselines would be another test's on a disk that ignores case."""
    alike = item.config.stash[_ALIKE].get(item.nodeid.casefold(), set())
    others = sorted(alike - {item.nodeid})
    if others:
        pytest.fail(
            f"{item.nodeid} and {others[0]} differ in case only, so on some disks their baselines "
            "would be the same file.\nGive one of the tests, or of its parameters, another name.",
            pytrace=False,
        )


def _check_options(mark: pytest.Mark) -> None:
    unknown = [name for name in mark.kwargs if name not in _MARK_OPTIONS]
    if unknown:
        pytest.fail(
            f"{_spell(mark)}: capture has no option {unknown[0]!r}.\n"
            f"Its options are: {', '.join(_MARK_OPTIONS)}.",
            pytrace=False,
        )


def _attach(recording: Recording, mark: pytest.Mark, fixture: str, model: object) -> str:
    """Record what a mark names, and say why that is not possible; empty when it is."""
    from pytest_featuremaps.errors import CaptureError
    from pytest_featuremaps.models import is_model

    if not is_model(model):
        found = f"the fixture {fixture!r} gives a {type(model).__name__}, not a torch.nn.Module"
        return _no_model(mark, found)
    options = {name: value for name, value in mark.kwargs.items() if name != "model"}
    try:
        recording.attach(model, *mark.args, **options, name=fixture)
    except CaptureError as error:
        return str(error)
    return ""


def _fixture_value(request: pytest.FixtureRequest, fixture: str, mark: pytest.Mark) -> object:
    try:
        return request.getfixturevalue(fixture)
    except pytest.FixtureLookupError as error:
        if error.argname != fixture:
            raise
    return pytest.fail(_no_model(mark, f"there is no fixture {fixture!r}"), pytrace=False)


def _no_model(mark: pytest.Mark, found: str) -> str:
    targets = ", ".join(map(repr, mark.args)).replace("'", '"')
    return "\n".join(
        [
            f"{_spell(mark)} needs the model under test, and {found}.",
            "Say which model it is, in one of three ways:",
            f"  - a fixture named 'model', or as {MODEL} in the configuration says",
            '  - the fixture\'s name in the mark: capture(..., model="net")',
            f"  - a model that the test builds itself: {MAPS}.attach(net, {targets or '...'})",
        ]
    )


def _spell(mark: pytest.Mark) -> str:
    written = [f'"{one}"' if isinstance(one, str) else repr(one) for one in mark.args]
    written += [f"{name}={_plain(value)}" for name, value in mark.kwargs.items()]
    return f"@pytest.mark.capture({', '.join(written)})"


def _plain(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else getattr(value, "__name__", repr(value))


def _store(request: pytest.FixtureRequest, run: Run) -> Store:
    """What this run compares with."""
    make = request.config.stash.get(_STORE, None)
    if make is not None:
        return make(request.node)
    from pytest_featuremaps.snapshots import Committed

    return Committed(_syrupy_snapshot(request), run)


def _syrupy_snapshot(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - syrupy may be absent
    found = "no plugin gives a fixture 'snapshot'"
    try:
        snapshot = request.getfixturevalue("snapshot")
    except pytest.FixtureLookupError:
        pass
    else:
        if type(snapshot).__module__.partition(".")[0] == "syrupy":
            return snapshot
        found = f"the fixture 'snapshot' is {type(snapshot).__module__}'s here"
    return pytest.fail(
        f"{SNAPSHOT} keeps its baselines with syrupy, and {found}.\n"
        "Load syrupy: take `-p no:syrupy` away, or rename the other fixture. Everything but "
        f"{SNAPSHOT} works without it.",
        pytrace=False,
    )
