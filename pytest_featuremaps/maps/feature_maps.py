"""The feature maps of one recording, found by key, and the checks over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pytest_featuremaps.checks.contracts import Clause, hold
from pytest_featuremaps.checks.grammar import Spec
from pytest_featuremaps.checks.vitals import Limits
from pytest_featuremaps.errors import AmbiguousKey, CaptureError, MissingMap
from pytest_featuremaps.maps import given, sheets, summaries, uncalled, values
from pytest_featuremaps.maps.checkup import examine
from pytest_featuremaps.maps.feature_map import FeatureMap, feature_map_of
from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.maps.picture_options import require_layout
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.maps.views import NOTHING_CAPTURED, View
from pytest_featuremaps.names.keys import Where
from pytest_featuremaps.names.targets import Target
from pytest_featuremaps.rendering.looks import Colours, Look, Ranges
from pytest_featuremaps.wording import listed, plain

if TYPE_CHECKING:
    from PIL import Image

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


class FeatureMaps(Mapping[str, FeatureMap]):
    """Recorded feature maps by key, in order of completion: a block follows its children.

    A key is `path`, `path#call` or `path#call[place]`; any spelling that means exactly one
    map finds it. A collection is equal to itself only, which leaves `==` to the baseline on
    the other side.
    """

    __array_ufunc__ = None
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(
        self, log: Log, chosen: frozenset[Where] | None = None, *, model: str | None = None
    ) -> None:
        """Look at a log; what is recorded later is seen as well.

        Args:
            log: where the maps are recorded.
            chosen: the layers to look at; all of them when None.
            model: the model to look at, whose name keys then leave out; all when None.
        """
        self._log = log
        self._view = View(log, chosen, model)

    def __getitem__(self, key: str) -> FeatureMap:
        return feature_map_of(self._found(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and len(self._view.find(key)) == 1

    def __iter__(self) -> Iterator[str]:
        return iter([self._view.key(one) for one in self._view.records()])

    def __len__(self) -> int:
        return len(self._view.records())

    def __repr__(self) -> str:
        return f"<FeatureMaps: {', '.join(map(plain, self)) or 'nothing recorded'}>"

    def of(self, model: str) -> FeatureMaps:
        """Return the maps of one model, under keys that leave the model's name out.

        Raises:
            CaptureError: no model of this name is recorded.
        """
        if model not in self._log.paths:
            raise CaptureError(
                f"No model named {model!r} is recorded. Recorded are: {listed(self._log.paths)}."
            )
        return FeatureMaps(self._log, self._view.chosen, model=model)

    def only(self, *patterns: Target) -> FeatureMaps:
        """Return the maps of some layers: module paths, globs and regular expressions.

        Raises:
            CaptureError: a pattern matches no captured layer.
        """
        chosen: set[Where] = set()
        for pattern in patterns:
            found = self._view.matching(pattern)
            if not found:
                raise CaptureError(
                    f"only({pattern!r}) matches no captured layer.\n"
                    f"Captured are: {listed(self._view.names())}."
                )
            chosen |= found
        return FeatureMaps(self._log, frozenset(chosen), model=self._view.model)

    def calls(self, layer: str) -> list[FeatureMap]:
        """Return the maps of one layer, call by call.

        Raises:
            MissingMap: the layer is not captured.
        """
        found = self._view.matching(layer)
        if not found:
            raise MissingMap(self._view.missing(layer))
        chosen = (one for one in self._view.records() if one.place.layer.where in found)
        return [feature_map_of(one) for one in chosen]

    def assert_finite(self) -> None:
        """Check that no recorded map holds NaN or infinity.

        Raises:
            AssertionError: some do; the text names the first of them and counts the rest.
            CaptureError: nothing is captured.
        """
        self._require_something()
        reasons = [reason for one in self._view.records() if (reason := values.not_finite(one))]
        if reasons:
            more = len(reasons) - 1
            after = [f"{more} later feature maps are not finite either."] if more else []
            raise AssertionError("\n".join([reasons[0], *after]))

    def assert_shapes(self, specs: Mapping[str, Spec], /, **dims: int) -> dict[str, int]:
        """Check the shapes of several maps with one set of names, and return their sizes.

        A name is bound by the first map that has it and must agree in all others:
        `assert_shapes({"conv1": "N 10 H W", "pool1": "N 10 H/2 W/2"}, N=1)`. For what a
        specification may hold see `FeatureMap.assert_shape`.

        Args:
            specs: what each shape should be, by key, in the order in which names are bound.
            **dims: sizes already known for names.

        Raises:
            AssertionError: some shapes are others; the text tells all of them, the size of
                each name, and where it was bound.
            ShapeSpecError: a specification cannot be read.
            MissingMap: there is no map of such a key.
            AmbiguousKey: a key means several maps.
        """
        found = [(self._found(key), spec) for key, spec in specs.items()]
        clauses = [Clause(self._view.key(one), one.title, spec, one.shape) for one, spec in found]
        agreement = hold(clauses, dims)
        if agreement.broken:
            raise AssertionError(agreement.text)
        return agreement.bound

    def assert_healthy(
        self,
        *,
        nan: float | None = Limits.nan,
        inf: float | None = Limits.inf,
        dead: float | None = Limits.dead,
        constant: float | None = Limits.constant,
        saturated: float | None = Limits.saturated,
        scale: tuple[float, float] | None = Limits.scale,
        vanishing: float | None = Limits.vanishing,
        exploding: float | None = Limits.exploding,
    ) -> None:
        """Check that the recorded maps, and their gradients, are those of a network that works.

        All that is wrong is told at once, in one table, the most telling first. None switches
        a check off. The defaults are far from what networks show that are trained, or freshly
        initialised; they find what is broken, not what is unusual. Maps without readable
        values are passed over, unless all are.

        Args:
            nan: the largest share of values that may be NaN, in a map or a gradient.
            inf: the largest share of values that may be infinite, likewise.
            dead: the largest share of the channels of an activation (ReLU, GELU, SiLU and
                their like) that may be zero throughout. Maps of fewer than eight channels
                are passed over.
            constant: the largest share of a map's channels that may each hold one value,
                although what went in varied: its own inputs where they are recorded,
                otherwise the map before it. Maps of fewer than eight channels and embeddings
                are passed over.
            saturated: the largest share of values within 1 % of the ends of Sigmoid, Tanh,
                Hardsigmoid and Softsign, or cut off by Hardtanh, ReLU6 and `clamp()`. It
                needs values, not statistics only.
            scale: the smallest and the largest ratio of a map's RMS to that of what went in,
                or of the map before it; not checked unless given.
            vanishing: the smallest gradient that the first layers may get, as a share of the
                largest. No gradient may be zero throughout either.
            exploding: the largest gradient, as a multiple of the last layer's.

        Raises:
            AssertionError: something is wrong.
            CaptureError: nothing is captured, or of no map is anything known but its shape.
            UnsupportedTensor: no map has readable values.
            ValueError: a bound is none; as is a TypeError.
        """
        limits = Limits(nan, inf, dead, constant, saturated, scale, vanishing, exploding)
        self._require_something()
        failure = examine(self._view.index(), limits)
        if failure:
            raise AssertionError(failure)

    def sheet(
        self,
        *,
        sample: int = 0,
        most: int = 16,
        colours: Colours = "auto",
        ranges: Ranges = "channel",
        layout: str | None = None,
    ) -> Image.Image:
        """Draw the recorded maps on one page, in order of completion: from low to high level.

        Each has its name, its shape, its range of values and a row of its first channels,
        enlarged so that small maps can be seen; what the colours mean stands on top. Of a map of
        more than 120 rows or columns not every value is drawn, but every NaN. A map of which
        there is no picture, or which can be read in several ways, has the reason instead.

        Args:
            sample: which sample of the batch to draw.
            most: how many channels of each map are drawn, as far as they fit in a row.
            colours: those of `FeatureMap.image`, but `"pca"`.
            ranges: likewise.
            layout: what the axes mean of maps that can be read in several ways, and how the
                sequences among the others lie over an image: `"tokens"`.

        Raises:
            PictureTooLarge: the page has too many pixels.
            CaptureError: the layout is none.
            ValueError: an option is none.
        """
        look = Look(colours=colours, ranges=ranges)
        require_layout(layout, "sheet")
        whole = self._view.index()
        return sheets.sheet(whole, look, sample=sample, most=most, layout=layout)

    def summary(self, *, as_specs: bool = False, most: int | None = None) -> str:
        """Return a table of the recorded maps, and of what was captured but did not run.

        Args:
            as_specs: return the shapes instead, as a call of `assert_shapes` to paste into a
                test: samples and positions become names, and ratios of them where exact.
            most: how many maps the table holds; all of them when None.
        """
        if as_specs:
            return summaries.specs(self._view.index())
        return "\n".join([*summaries.table(self._view.index(), most=most), *self._remarks()])

    def _require_something(self) -> None:
        """See that there is something to check: a forgotten mark would pass any check."""
        if self._log.captures_nothing:
            why, way_out = NOTHING_CAPTURED
            raise CaptureError(f"There is no feature map to check: {why}.\n{way_out}")

    def _found(self, key: str) -> Record:
        """Return the one record that a key means, or say why it means none or several."""
        found = self._view.find(key)
        if len(found) == 1:
            return found[0]
        if found:
            raise AmbiguousKey(
                f"{key!r} means {len(found)} feature maps: {listed(map(self._view.key, found))}.\n"
                "Name one of them, or go over all with feature_maps.calls(...)."
            )
        raise MissingMap(self._view.missing(key))

    def _remarks(self) -> list[str]:
        """Say what was captured and did not run, and what recording changed."""
        if self._log.captures_nothing:
            why, way_out = NOTHING_CAPTURED
            return [f"{why}: {way_out[0].lower()}{way_out[1:]}"]
        lines = []
        layers = self._view.layers().values()
        silent = [layer.name for layer in layers if not layer.ran]
        if self._view.chosen is None:
            silent += uncalled.silent(self._log, self._view.model)
        again = [layer.name for layer in layers if layer.recomputed]
        problems = dict.fromkeys(layer.problem for layer in layers if layer.problem)
        lines += [f"did not run: {listed(silent)}"] if silent else []
        lines += [f"calls during backward left out: {listed(again)}"] if again else []
        for problem in problems:
            unread = [layer.name for layer in layers if layer.problem == problem]
            lines.append(f"could not be recorded: {listed(unread)} ({problem})")
        lost = {given.lost_inputs(one): one.place.layer.path for one in self._view.records()}
        lines += [f"inputs not recorded: {name} ({why})" for why, name in lost.items() if why]
        return [*lines, *(f"note: {text}" for text in self._log.notes)]


def view_of(maps: FeatureMaps) -> View:
    """Return what feature maps look at: the records behind them, and the log they are in."""
    return maps._view  # noqa: SLF001 - the door for the rooms of this package
