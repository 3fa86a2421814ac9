"""`feature_snapshot`: comparing feature maps with baselines that syrupy stores."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from syrupy.assertion import SnapshotAssertion
from syrupy.data import SnapshotCollection
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation

from pytest_featuremaps import baseline, comparing, filenames, measuring, rendering, story
from pytest_featuremaps.errors import BaselineError
from pytest_featuremaps.feature_map import FeatureMap
from pytest_featuremaps.maps import FeatureMaps

# The bytes of one file name, less its ending and what a temporary name beside it adds.
_NAME_LIMIT = 200


@dataclass(frozen=True)
class Options:
    """How one comparison is made; see `FeatureSnapshot.__call__`."""

    name: str | None = None
    tolerance: baseline.Tolerance | str | None = None
    sample: int | None = None
    channels: Sequence[int] | None = None


@dataclass(frozen=True)
class Verdict:
    """Why a comparison failed, in words.

    Attributes:
        title: the name of the baseline's file.
        headline: at most six short lines, the most telling first.
        story: all of it.
    """

    title: str
    headline: list[str]
    story: list[str]


@dataclass(frozen=True)
class _Picture:
    """A feature map that is to be drawn, and its numbers."""

    one: FeatureMap
    numbers: baseline.Table


class _Extension(SingleFileSnapshotExtension):
    """One baseline in one file, which finds out by itself whether it matches.

    syrupy reads the stored bytes, asks for the new ones, then asks whether they match. So
    the stored bytes are kept as they are read, and `serialize` compares; what it returns is
    what an update has to write.
    """

    _write_mode = WriteMode.BINARY
    options = Options()
    accept = ""
    title = ""
    stored: bytes | None = None
    verdict: Verdict | None = None

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: int | str = 0) -> str:
        """Return a file name that no other text gives."""
        suffix = index if isinstance(index, str) else ""
        return filenames.encode(test_location.snapshot_name + suffix, limit=_NAME_LIMIT)

    @classmethod
    def matches_test_location(
        cls, *, test_location: PyTestLocation, snapshot_location: str
    ) -> bool:
        """Tell whether a file is a test's, by its encoded name; asked by syrupy from 7.0."""
        path = Path(snapshot_location)
        folder = Path(cls.dirname(test_location=test_location))
        name = test_location.snapshot_name
        return path.parent == folder and filenames.may_begin_with(
            path.stem, name, limit=_NAME_LIMIT
        )

    def read_snapshot_data_from_location(
        self, *, snapshot_location: str, **others: object
    ) -> bytes | None:
        """Return the stored bytes, whatever they are, and keep them."""
        del others
        path = Path(snapshot_location)
        self.title = path.name
        self.stored = path.read_bytes() if path.exists() else None
        return self.stored

    @classmethod
    def write_snapshot_collection(
        cls, *, snapshot_collection: SnapshotCollection, **others: object
    ) -> None:
        """Replace the file in one step, so that it is never half written."""
        del others
        path = Path(snapshot_collection.location)
        # syrupy's search for unused snapshots leaves files with a leading dot alone.
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(_bytes(next(iter(snapshot_collection)).data))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def matches(self, *, serialized_data: object, snapshot_data: object) -> bool:
        """Return what `serialize` found."""
        del serialized_data, snapshot_data
        return self.verdict is None

    def diff_lines(self, serialized_data: object, snapshot_data: object) -> Iterator[str]:
        """Yield the story of the difference."""
        del serialized_data, snapshot_data
        yield from self.verdict.story if self.verdict else ()

    def _find_none(self) -> None:
        self._fail([f"{self.title}: there is no baseline yet", f"record it with: {self.accept}"])

    def _find_broken(self, reason: str) -> None:
        lines = [
            f"{self.title} cannot be read: {reason}",
            f"restore it from version control, or record it anew with: {self.accept}",
        ]
        self._fail(lines)

    def _fail(self, headline: list[str], whole: list[str] | None = None) -> None:
        self.verdict = Verdict(self.title, headline, whole or headline)


class TableExtension(_Extension):
    """The numbers of several feature maps: one JSON line for each."""

    file_extension = "jsonl"

    def serialize(self, data: object, **others: object) -> bytes:
        """Compare a table with the stored one, and return what an update writes.

        That is the stored bytes for every line within tolerance.
        """
        del others
        table = cast("baseline.Table", data)
        if self.stored is None:
            self._find_none()
            return baseline.dump(table)
        try:
            expected = baseline.load(self.stored)
        except baseline.BadBaseline as error:
            self._find_broken(str(error))
            return baseline.dump(table)
        comparison = baseline.compare(expected, table, self.options.tolerance)
        if comparison:
            return self.stored
        self._fail(
            story.headline(comparison, self.title, accept=self.accept),
            story.tell(comparison, self.title, accept=self.accept),
        )
        return baseline.merge(self.stored, table, self.options.tolerance)


class PictureExtension(_Extension):
    """The channels of one feature map as a PNG mosaic, with its numbers inside."""

    file_extension = "png"

    def serialize(self, data: object, **others: object) -> bytes:
        """Compare a feature map with the stored picture, and return what an update writes."""
        del others
        picture = cast("_Picture", data)
        if self.stored is None:
            self._find_none()
            return self._encoded(picture)
        try:
            drawn, numbers = rendering.decode(self.stored)
            expected = baseline.load(numbers.encode())
        except (rendering.BadPicture, baseline.BadBaseline) as error:
            self._find_broken(str(error))
            return self._encoded(picture)
        comparison = baseline.compare(expected, picture.numbers, self.options.tolerance)
        seen = self._look(picture.one, drawn, comparison)
        if comparison and not seen:
            return self.stored
        # The numbers gate, the picture explains: its lines come after theirs.
        headline = story.headline(comparison, self.title, accept="")[:-1] if not comparison else []
        whole = story.tell(comparison, self.title, accept="") if not comparison else [self.title]
        accept = f"accept with: {self.accept}"
        self._fail([*(headline + seen)[:5], accept], [*whole, *seen, accept])
        return self._encoded(picture)

    def _look(
        self, one: FeatureMap, drawn: rendering.Mosaic, comparison: baseline.Comparison
    ) -> list[str]:
        """Say which channels look different when drawn over the baseline's ranges of values."""
        now = self._mosaic(one, like=drawn)
        if now.channels != drawn.channels:
            return ["picture: it shows other channels than the baseline's; see channels="]
        levels = comparison.entries[0].levels
        difference = comparing.compare(
            drawn.tiles, now.tiles, drawn.channels, levels=levels, marks_from=rendering.MARKS_FROM
        )
        return [f"picture: {text}" for text in difference.lines()]

    def _mosaic(self, one: FeatureMap, like: rendering.Mosaic | None = None) -> rendering.Mosaic:
        sample = self.options.sample or 0
        return one.mosaic(sample=sample, channels=self.options.channels, like=like)

    def _encoded(self, picture: _Picture) -> bytes:
        numbers = baseline.dump(picture.numbers).decode()
        return rendering.encode(self._mosaic(picture.one), numbers, max_bytes=rendering.MAX_BYTES)


class Claims:
    """Which comparison uses which baseline file, so that no two share one unnoticed."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, str]] = {}

    def claim(self, path: str, test: str) -> None:
        """Note that a comparison of a test uses a file.

        Raises:
            BaselineError: another comparison uses it already, or one whose name differs in
                case only, which is the same file on some disks.
        """
        known = self._owners.get(path.casefold())
        if known is not None:
            other = "an earlier comparison" if known[1] == test else known[1]
            raise BaselineError(
                f"{Path(path).name} is also the baseline of {other} ({Path(known[0]).name}).\n"
                'Give this comparison a name of its own: feature_snapshot(name="...").'
            )
        self._owners[path.casefold()] = (path, test)

    def release(self, test: str) -> None:
        """Forget what a test used, before its body runs again."""
        self._owners = {key: owner for key, owner in self._owners.items() if owner[1] != test}


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
        self, snapshot: SnapshotAssertion, claims: Claims, options: Options | None = None
    ) -> None:
        self._snapshot = snapshot
        self._claims = claims
        self._options = options or Options()
        self.failures: list[Verdict] = []

    def __call__(
        self,
        name: str | None = None,
        *,
        tolerance: baseline.Tolerance | str | None = None,
        sample: int | None = None,
        channels: Sequence[int] | None = None,
    ) -> FeatureSnapshot:
        """Return the baseline for one comparison with options of its own.

        Args:
            name: tells this comparison from another one of the same kind in the same test.
            tolerance: a `Tolerance`, or the name of a profile: `"exact"`, `"cpu"`, `"half"`,
                `"gpu"`. Chosen for each map from its dtype and device when None.
            sample: compare this sample of the batch only, so that the size of the batch does
                not matter. A table compares the whole batch when None; a picture shows one
                sample, the first when None.
            channels: which channels a picture shows; all of them when None.
        """
        options = Options(name, tolerance, sample, channels)
        one = FeatureSnapshot(self._snapshot, self._claims, options)
        one.failures = self.failures
        return one

    def __eq__(self, other: object) -> bool:
        suffix = f"[{self._options.name}]" if self._options.name else ""
        if isinstance(other, FeatureMaps):
            if not other:
                raise BaselineError(
                    "There is no feature map to compare with a baseline.\n" + other.summary()
                )
            numbers = measuring.table(other, sample=self._options.sample)
            return self._compare(TableExtension, numbers, suffix)
        if isinstance(other, FeatureMap):
            line = measuring.line(other.key, other, sample=self._options.sample or 0)
            table = baseline.Table(measuring.environment(), (line,))
            return self._compare(PictureExtension, _Picture(other, table), f"{suffix}[{other.key}]")
        raise TypeError(
            f"feature_snapshot compares feature maps, not {type(other).__name__}.\n"
            "Write `feature_maps == feature_snapshot` for a table of numbers, or "
            '`feature_maps["conv1"] == feature_snapshot` for a picture.'
        )

    def __repr__(self) -> str:
        return f"<feature_snapshot of {self._snapshot.test_location.nodeid}>"

    def _compare(self, kind: type[_Extension], data: object, suffix: str) -> bool:
        snapshot = self._snapshot.use_extension(kind)
        location = snapshot.test_location
        extension: Any = snapshot.extension
        extension.options = self._options
        extension.accept = f"pytest --snapshot-update {shlex.quote(location.nodeid)}"
        path = extension.get_location(test_location=location, index=suffix)
        self._claims.claim(path, location.nodeid)
        with warnings.catch_warnings():
            # syrupy before 7.0 compares with the name as it was before it was encoded.
            warnings.filterwarnings("ignore", message=r"\s*Can not relate snapshot location")
            equal = snapshot(name=suffix or None) == data
        result = snapshot.executions[len(snapshot.executions) - 1]
        if result.exception is not None:
            raise result.exception
        if not equal and extension.verdict is not None:
            self.failures.append(extension.verdict)
        return bool(equal)


def _bytes(data: object) -> bytes:
    return data if isinstance(data, bytes) else str(data).encode()
