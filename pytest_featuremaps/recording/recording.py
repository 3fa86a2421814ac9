"""A recording: feature maps while they are being recorded, and the `with` block around them."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from torch import nn

from pytest_featuremaps.maps.feature_maps import FeatureMaps
from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.names.keys import Keep
from pytest_featuremaps.names.targets import Target
from pytest_featuremaps.names.targets import Where as Filter
from pytest_featuremaps.recording.options import CaptureOptions
from pytest_featuremaps.recording.recorder import Recorder


class Recording(FeatureMaps):
    """Feature maps while they are being recorded: the value of the `feature_maps` fixture.

    A recording is a context manager; its hooks come off when the block ends, however it
    ends, and its maps stay readable.
    """

    def __init__(self, recorder: Recorder) -> None:
        """Show what a recorder records.

        Args:
            recorder: what puts the hooks on; it is closed with the recording.
        """
        super().__init__(recorder.log)
        self._recorder = recorder

    def attach(
        self,
        model: nn.Module,
        *targets: Target,
        where: Filter | None = None,
        keep: Keep = "values",
        inputs: bool = False,
        grads: bool = False,
        channels: bool = False,
        layout: str | None = None,
        required: bool = True,
        name: str | None = None,
    ) -> FeatureMaps:
        """Record modules of a model from now on, and return the maps of that model.

        Everything that can be resolved is resolved before the first hook goes on; where one
        cannot be registered, none stays.

        Args:
            model: the model to record.
            *targets: module paths relative to the model (`"features.3"`, `"features.-1"`),
                globs (`*` within a segment, `**` over any number), compiled regular
                expressions that match a whole path, `"."` for the model itself, or functional
                calls (`"layer1.0.add()"`, `"**.relu()"`).
            where: a module class, several of them, or a predicate `(path, module) -> bool`
                that narrows the targets; without a target it means `"**"`.
            keep: `"values"` keeps independent copies, `"stats"` statistics only, `"shapes"`
                neither.
            inputs: whether what goes into each call is recorded as well.
            grads: whether gradients are recorded as well, when `backward()` is called.
            channels: whether `keep="stats"` keeps statistics of each channel as well.
            layout: what each axis of the maps means, such as `"NHWC"`.
            required: whether the test fails when an exact target, or every match of a
                pattern, does not run.
            name: the model's name in keys, where several models are recorded.

        Raises:
            CaptureError: a target names or matches nothing, an option is not one of those
                above, the model cannot be recorded, its name is taken, or the recording is
                over.
        """
        options = CaptureOptions(keep, inputs, grads, channels, layout)
        label = self._recorder.attach(
            model, targets, options, where=where, required=required, name=name
        )
        return self.of(label)

    def clear(self) -> None:
        """Forget what was recorded; calls are counted from 0 again. Hooks stay on."""
        self._recorder.clear()

    def close(self) -> None:
        """Take every hook of this recording off; nothing else is touched. May be repeated."""
        self._recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._recorder.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureMaps:
        """Return the maps alone: a copy watches nothing, and can take no hook off."""
        return FeatureMaps(self._log.copy())

    def __reduce__(self) -> tuple[type[FeatureMaps], tuple[Log]]:
        return FeatureMaps, (self._log.copy(),)

    def _remarks(self) -> list[str]:
        return [*super()._remarks(), *(f"note: {text}" for text in self._recorder.late())]


def capture(
    model: nn.Module,
    *targets: Target,
    where: Filter | None = None,
    keep: Keep = "values",
    inputs: bool = False,
    grads: bool = False,
    channels: bool = False,
    layout: str | None = None,
    required: bool = True,
    name: str | None = None,
) -> Recording:
    """Record modules of a model in a `with` block, outside pytest as well.

    The hooks are on from the call, and off when the block ends:

        with capture(model, "layer1.**", "fc") as maps:
            model(images)
        maps["fc"].assert_shape("N 10")

    A module that did not run raises nothing here; asking for its map does, and says why.
    Arguments and errors are those of `Recording.attach`.
    """
    recording = Recording(Recorder())
    with ExitStack() as undo:
        undo.callback(recording.close)
        recording.attach(
            model,
            *targets,
            where=where,
            keep=keep,
            inputs=inputs,
            grads=grads,
            channels=channels,
            layout=layout,
            required=required,
            name=name,
        )
        undo.pop_all()
    return recording
