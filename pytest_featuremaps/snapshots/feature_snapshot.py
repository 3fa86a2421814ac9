"""`feature_snapshot`: comparing feature maps with baselines that syrupy stores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from pytest_featuremaps.baseline import noise, table_files
from pytest_featuremaps.baseline.renaming import Rename
from pytest_featuremaps.baseline.tables import Table
from pytest_featuremaps.baseline.tolerances import Tolerance, asked_for
from pytest_featuremaps.errors import BaselineError, FeatureMapsWarning
from pytest_featuremaps.maps import measuring
from pytest_featuremaps.maps.feature_map import FeatureMap, record_of
from pytest_featuremaps.maps.feature_maps import FeatureMaps, view_of
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.snapshots.extensions import (
    Extension,
    Picture,
    PictureExtension,
    TableExtension,
)
from pytest_featuremaps.snapshots.options import (
    ComparisonOptions,
    RunOptions,
    channels_of,
    sample_of,
)
from pytest_featuremaps.snapshots.outcomes import Outcomes
from pytest_featuremaps.snapshots.stores import Store
from pytest_featuremaps.wording import listed


class FeatureSnapshot:
    """The committed baseline of a test: the value of the `feature_snapshot` fixture.

    Compare with `==`: a `FeatureMaps` with a table of numbers, a `FeatureMap` with a picture.

        assert feature_maps == feature_snapshot
        assert feature_maps["conv2"] == feature_snapshot
    """

    # An ndarray on the left of `==` would be compared element by element.
    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __init__(
        self,
        store: Store,
        outcomes: Outcomes,
        run: RunOptions,
        options: ComparisonOptions | None = None,
    ) -> None:
        self._store = store
        self._outcomes = outcomes
        self._run = run
        self._options = options or ComparisonOptions(
            tolerance=asked_for(run.tolerance), source=run.source
        )

    def __call__(
        self,
        name: str | None = None,
        *,
        tolerance: Tolerance | str | float | None = None,
        sample: int | None = None,
        channels: Sequence[int] | None = None,
        rename: Rename | None = None,
    ) -> FeatureSnapshot:
        """Return the baseline for one comparison with options of its own.

        Args:
            name: tells this comparison from another one of the same kind in the same test.
            tolerance: a `Tolerance`, a relative L2 change, or the name of a profile:
                `"exact"`, `"cpu"`, `"half"`, `"gpu"`. That of the run when None, which is
                chosen for each map from its dtype and device unless it was told.
            sample: compare this sample of the batch only, so that the size of the batch does
                not matter. A table compares the whole batch when None; a picture shows one
                sample, the first when None.
            channels: which channels a picture shows; all of them when None.
            rename: how keys in a table's baseline are called now, until it is updated: a
                mapping of old keys or paths of layers, with all below them, to new ones, a
                pair of a regular expression and its replacement, or a function from old key
                to new.
        """
        of_run = self._run.tolerance, self._run.source
        asked, source = of_run if tolerance is None else (tolerance, "this comparison")
        options = ComparisonOptions(
            name, asked_for(asked), source, sample_of(sample), channels_of(channels), rename
        )
        return FeatureSnapshot(self._store, self._outcomes, self._run, options)

    def __eq__(self, other: object) -> bool:
        suffix = f"[{self._options.name}]" if self._options.name else ""
        if isinstance(other, FeatureMaps):
            if not other:
                raise BaselineError(
                    "There is no feature map to compare with a baseline.\n" + other.summary()
                )
            if self._options.channels is not None:
                raise BaselineError(
                    "channels= is for a picture; a table compares whole feature maps.\n"
                    "Take it away, or compare one map: "
                    f'feature_maps["{next(iter(other))}"] == feature_snapshot(channels=...)'
                )
            view = view_of(other)
            numbers = measuring.table(view, sample=self._options.sample)
            return self._compare(TableExtension, numbers, suffix, view.records())
        if isinstance(other, FeatureMap):
            if self._options.rename is not None:
                raise BaselineError(
                    "rename= is for a table. The file of a picture is named after its feature "
                    "map: rename the file."
                )
            one = record_of(other)
            line = measuring.line(other.key, one, sample=self._options.sample or 0)
            table = Table(measuring.environment(), (line,))
            return self._compare(PictureExtension, table, f"{suffix}[{other.key}]", [one])
        raise TypeError(
            f"feature_snapshot compares feature maps, not {type(other).__name__}.\n"
            "Write `feature_maps == feature_snapshot` for a table of numbers, or "
            '`feature_maps["conv1"] == feature_snapshot` for a picture.'
        )

    def __ne__(self, other: object) -> bool:
        raise TypeError(
            "feature_snapshot is compared with ==, and an update records what is compared.\n"
            "Write `assert feature_maps == feature_snapshot`. To expect a difference, ask "
            "pytest_featuremaps.compare(reference, candidate) for it."
        )

    def __repr__(self) -> str:
        return f"<feature_snapshot of {self._store.location.nodeid}>"

    def _compare(
        self, kind: type[Extension], numbers: Table, suffix: str, records: Sequence[Record]
    ) -> bool:
        location = self._store.location
        noise_run = self._run.noise_run
        if noise_run is not None:
            # Not the file's name: the second run keeps its baselines elsewhere.
            name = f"{location.filepath}::{location.snapshot_name}{suffix}.{kind.file_extension}"
            if noise_run.is_this:
                noise_run.put(name, table_files.dump(numbers))
                return True
            numbers = self._with_noise(numbers, noise_run.get(name))
        data = Picture(records[0], numbers) if kind is PictureExtension else numbers
        path = kind.get_location(test_location=location, index=suffix)
        self._outcomes.claims.claim(path)
        if self._store.records(path):
            _warn_of_training(records)
            _warn_of_nan(numbers)
        failure = self._store.compare(kind, data, suffix, self._options)
        if failure is None:
            self._outcomes.agreements.append(path)
            return True
        name = self._options.name or ""
        self._outcomes.failures.append(replace(failure, location=path, name=name))
        return False

    def _with_noise(self, numbers: Table, other: bytes | None) -> Table:
        """Return the numbers with the noise of each map, as far as the second run reached it."""
        if other is None:
            return numbers
        measured, chance = noise.measured(numbers, table_files.load(other))
        if chance:
            warnings.warn(
                f"These feature maps change by more than {noise.CHANCE:.0e} of their RMS when the "
                f"same test runs again: {listed(chance, most=6)}.\n"
                "That is no noise of rounding, and none is recorded for them. Seed what is drawn "
                "at random, and call model.eval() where dropout is active.",
                FeatureMapsWarning,
                stacklevel=4,
            )
        return measured


def outcomes_of(baseline: FeatureSnapshot) -> Outcomes:
    """Return what the comparisons with a baseline came to, and others of the same test."""
    return baseline._outcomes  # noqa: SLF001 - the door for the rooms of this package


def _warn_of_training(records: Sequence[Record]) -> None:
    """Warn that a baseline is recorded from a model in training mode, where that matters."""
    layers = {one.place.layer.model: one.place.layer for one in records}
    modules = [name for layer in layers.values() for name in layer.training()]
    if modules:
        warnings.warn(
            "A baseline is recorded from a model in training mode: "
            f"{listed(modules, most=6)}.\n"
            "Dropout draws anew in every run, and BatchNorm goes by the batch. Call model.eval() "
            "in the model's fixture; where training mode is what is tested, ignore "
            "pytest_featuremaps.FeatureMapsWarning.",
            FeatureMapsWarning,
            stacklevel=4,
        )


def _warn_of_nan(numbers: Table) -> None:
    """Warn that a baseline is recorded of maps that hold NaN: it would agree with them for good."""
    lines = [one for one in numbers.lines if one.stats and one.stats["nan_count"]]
    if lines:
        warnings.warn(
            "A baseline is recorded of feature maps that hold NaN: "
            f"{listed([one.key for one in lines], most=6)}.\n"
            "Every run that has the same NaN agrees with it. feature_maps.assert_finite() says "
            "where they begin; where NaN is what is tested, ignore "
            "pytest_featuremaps.FeatureMapsWarning.",
            FeatureMapsWarning,
            stacklevel=4,
        )
