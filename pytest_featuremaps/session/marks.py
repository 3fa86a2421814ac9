"""What the marks of one test ask for, and the recording that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_featuremaps.runs.collected import fixture_names, has_baseline

if TYPE_CHECKING:
    from pytest_featuremaps.recording.recorder import Moment, Recorder
    from pytest_featuremaps.recording.recording import Recording

MARK = "capture"
MAPS = "feature_maps"
SHAPES = "shapes_only"
MODEL = "featuremaps_model"

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
MARK_HELP = (
    "capture(*targets, where=None, model='model', inputs=False, grads=False, keep='values', "
    "channels=False, layout=None, required=True): record what these modules of the model return, "
    "for the feature_maps fixture. A target is a module path ('features.3'), a glob ('**.conv1'), "
    "a compiled regular expression or a functional call ('block.add()'); where= narrows by class "
    "or predicate; model= names the fixture that gives the model."
)


class Capturing:
    """The recording of the test that runs, and the models that its marks name.

    Attributes:
        recorder: what puts the hooks on.
        recording: what the test is given of it.
        marks: the marks, by the fixture that gives their model.
    """

    def __init__(self, item: pytest.Item) -> None:
        from pytest_featuremaps.recording.recorder import Recorder
        from pytest_featuremaps.recording.recording import Recording

        self.recorder: Recorder = Recorder(sketched=has_baseline(item), intercepting=False)
        self.recording: Recording = Recording(self.recorder)
        self.marks: dict[str, list[pytest.Mark]] = {}
        self._models: dict[str, object] = {}
        self._wrong: dict[str, str] = {}
        self._start: Moment | None = None
        default = item.config.getini(MODEL)
        for mark in reversed(list(item.iter_markers(MARK))):
            _check_options(mark)
            self.marks.setdefault(mark.kwargs.get("model", default), []).append(mark)

    def attach(self, fixture: str, model: object) -> None:
        """Put hooks on a model as soon as its fixture has made it.

        A fixture that overrides another of its name gives two values, perhaps the same model
        changed. The later one is what tests see, so what is wrong with a value is told only
        when `require` asks for it.
        """
        if fixture in self._models:
            self.recorder.detach(fixture)
        self._models[fixture] = model
        reasons = [_attach(self.recording, mark, fixture, model) for mark in self.marks[fixture]]
        self._wrong[fixture] = "\n".join(filter(None, reasons))

    def require(self, fixture: str, model: object) -> None:
        """See that hooks are on a model that is about to be used; fail where they cannot be."""
        if fixture not in self._models or self._models[fixture] is not model:
            self.attach(fixture, model)
        if self._wrong[fixture]:
            pytest.fail(self._wrong[fixture], pytrace=False)

    def begin_body(self) -> None:
        """Start every run of the test's body from what was recorded before the first."""
        if self._start is None:
            self._start = self.recorder.moment()
        else:
            self.recorder.rewind(self._start)


def order_fixtures(item: pytest.Item) -> None:
    """Move `shapes_only` to the front, and `feature_maps` to right after the last model.

    A fixture of wider scope that runs a model's forward would come before it otherwise.
    """
    names = fixture_names(item)
    if SHAPES in names:
        names.remove(SHAPES)
        names.insert(0, SHAPES)
    default = item.config.getini(MODEL)
    models = {mark.kwargs.get("model", default) for mark in item.iter_markers(MARK)}
    places = [number for number, name in enumerate(names) if name in models]
    if MAPS in names and places and names.index(MAPS) > max(places):
        names.remove(MAPS)
        names.insert(max(places) + 1, MAPS)


def unrequested(item: pytest.Item) -> str:
    """Say that a marked test does not request `feature_maps`, and how it can."""
    from unittest import TestCase

    asked = f"{item.name} is marked with {MARK}, but does not request the {MAPS} fixture"
    lines = [f"{asked}, so nothing would be captured."]
    if issubclass(getattr(item, "cls", None) or object, TestCase):
        model = item.config.getini(MODEL)
        lines += [
            "Methods of unittest take no arguments: give the class a fixture that does, such as",
            "    @pytest.fixture(autouse=True)",
            f"    def given(self, {model}, {MAPS}):",
            f"        self.{model}, self.{MAPS} = {model}, {MAPS}",
        ]
    else:
        lines.append(f"Add {MAPS} to its arguments, or take the mark off.")
    return "\n".join(lines)


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
    from pytest_featuremaps.recording.models import is_model

    if not is_model(model):
        found = f"the fixture {fixture!r} gives a {type(model).__name__}, not a torch.nn.Module"
        return _no_model(mark, found)
    options = {name: value for name, value in mark.kwargs.items() if name != "model"}
    try:
        recording.attach(model, *mark.args, **options, name=fixture)
    except CaptureError as error:
        return str(error)
    return ""


def model_of(request: pytest.FixtureRequest, fixture: str, mark: pytest.Mark) -> object:
    """Return what a model's fixture gives; fail the test where there is no such fixture."""
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
