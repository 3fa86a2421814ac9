"""The syrupy extensions: one baseline in one file, which finds out whether it matches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from syrupy.data import SnapshotCollection
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation

from pytest_featuremaps import disk, filenames, rendering
from pytest_featuremaps.baseline import comparing, table_files, tables
from pytest_featuremaps.errors import BaselineError
from pytest_featuremaps.maps import pictures
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.rendering import differences
from pytest_featuremaps.snapshots.failures import Failure
from pytest_featuremaps.snapshots.options import ComparisonOptions
from pytest_featuremaps.story import phrases, story


@dataclass(frozen=True)
class Picture:
    """What is recorded of a feature map that is to be drawn, and its numbers."""

    one: Record
    numbers: tables.Table


class Extension(SingleFileSnapshotExtension):
    """One baseline in one file, which finds out by itself whether it matches.

    syrupy reads the stored bytes, asks for the new ones, then asks whether they match. So
    the stored bytes are kept as they are read, and `serialize` compares; what it returns is
    what an update has to write.
    """

    _write_mode = WriteMode.BINARY
    write_immediately = getattr(SingleFileSnapshotExtension, "write_immediately", False)
    options = ComparisonOptions()
    accept = ""
    updates = False
    against = "baseline"
    title = ""
    stored: bytes | None = None
    failure: Failure | None = None
    gaps = ""

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: int | str = 0) -> str:
        """Return a file name that no other text gives."""
        suffix = index if isinstance(index, str) else ""
        return filenames.encode(test_location.snapshot_name, suffix, limit=filenames.NAME_LIMIT)

    @classmethod
    def matches_test_location(
        cls, *, test_location: PyTestLocation, snapshot_location: str
    ) -> bool:
        """Tell whether a file is a test's, by its encoded name; asked by syrupy from 7.0."""
        path = Path(snapshot_location)
        folder = Path(cls.dirname(test_location=test_location))
        name = test_location.snapshot_name
        return path.parent == folder and filenames.may_begin_with(
            path.stem, name, limit=filenames.NAME_LIMIT
        )

    def read_snapshot_data_from_location(
        self, *, snapshot_location: str, **others: object
    ) -> bytes | None:
        """Return the stored bytes, whatever they are, and keep them."""
        del others
        path = Path(snapshot_location)
        self.title = path.name
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "something that is no file"
            raise BaselineError(f"{path.name}: {what} stands where the baseline should be.")
        try:
            self.stored = path.read_bytes() if path.exists() else None
        except OSError as error:
            reason = error.strerror
        else:
            return self.stored
        raise BaselineError(f"{path.name} cannot be read: {reason}.")

    @classmethod
    def write_snapshot_collection(
        cls, *, snapshot_collection: SnapshotCollection, **others: object
    ) -> None:
        """Replace the file in one step, so that it is never half written."""
        del others
        path = _file_behind(Path(snapshot_collection.location))
        try:
            disk.replace(path, as_bytes(next(iter(snapshot_collection)).data))
        except OSError as error:
            reason = error.strerror
        else:
            return
        raise BaselineError(
            f"{path.name} cannot be written: {reason}.\nThe baseline is as it was before this run."
        )

    def matches(self, *, serialized_data: object, snapshot_data: object) -> bool:
        """Return what `serialize` found."""
        del serialized_data, snapshot_data
        return self.failure is None

    def diff_lines(self, serialized_data: object, snapshot_data: object) -> Iterator[str]:
        """Yield the story of the difference."""
        del serialized_data, snapshot_data
        yield from self.failure.story if self.failure else ()

    def _find_none(self) -> None:
        self._fail([f"{self.title}: there is no baseline yet", f"record it with: {self.accept}"])

    def _find_broken(self, reason: str) -> None:
        lines = [
            f"{self.title} cannot be read: {reason}",
            f"restore it from version control, or record it anew with: {self.accept}",
        ]
        self._fail(lines)

    def _with_noise(self, stored: bytes, table: tables.Table) -> bytes:
        """Return a stored table that agrees, with the noise that this run measured.

        Where that changes it, nothing failed, but syrupy writes only what does not match.
        """
        if all(line.noise is None for line in table.lines):
            return stored
        written = comparing.merge(stored, table, self.options.tolerance)
        if written != stored:
            self._fail([f"{self.title}: its maps have another noise than the baseline says"])
        return written

    def _fail(
        self,
        headline: list[str],
        whole: list[str] | None = None,
        comparison: comparing.Comparison | None = None,
        redrawn: bytes | None = None,
    ) -> None:
        self.failure = Failure(self.title, headline, whole or headline, comparison, redrawn=redrawn)


class TableExtension(Extension):
    """The numbers of several feature maps: one JSON line for each."""

    file_extension = "jsonl"

    def serialize(self, data: object, **others: object) -> bytes:
        """Compare a table with the stored one, and return what an update writes.

        That is the stored bytes for every line within tolerance.
        """
        del others
        table = cast("tables.Table", data)
        if self.stored is None:
            self._find_none()
            return table_files.dump(table)
        try:
            expected = table_files.load(self.stored)
        except table_files.BadBaseline as error:
            self._find_broken(str(error))
            return table_files.dump(table)
        options = self.options
        comparison = comparing.compare(
            expected, table, options.tolerance, options.rename, against=self.against
        )
        if not comparison:
            self._fail(
                story.headline(comparison, self.title, accept=self.accept),
                story.tell(comparison, self.title, accept=self.accept, held_to=options.held_to),
                comparison,
            )
        elif self.updates and comparison.declared:
            # Nothing failed, but syrupy writes only what does not match.
            self._fail([f"{self.title}: its maps have new names"])
        elif self.updates and any(entry.outgrows_baseline for entry in comparison.entries):
            self._fail([f"{self.title}: it lacks numbers that this run has"])
        else:
            self.gaps = phrases.gaps(comparison)
            return self._with_noise(self.stored, table)
        return comparing.merge(self.stored, table, options.tolerance, options.rename)


class PictureExtension(Extension):
    """The channels of one feature map as a PNG mosaic, with its numbers inside."""

    file_extension = "png"

    def serialize(self, data: object, **others: object) -> bytes:
        """Compare a feature map with the stored picture, and return what an update writes."""
        del others
        picture = cast("Picture", data)
        if self.stored is None:
            self._find_none()
            return self._encoded(picture)
        try:
            drawn, numbers = rendering.decode(self.stored)
            stored = numbers.encode()
            expected = _under_key_of(picture.numbers, table_files.load(stored))
        except (rendering.BadPicture, table_files.BadBaseline) as error:
            self._find_broken(str(error))
            return self._encoded(picture)
        comparison = comparing.compare(
            expected, picture.numbers, self.options.tolerance, against=self.against
        )
        now = self._mosaic(picture.one, like=drawn)
        seen = _look(drawn, now, comparison)
        if comparison and not seen:
            written = self._with_noise(stored, picture.numbers)
            return self.stored if self.failure is None else _encoded(drawn, written)
        # The numbers gate, the picture explains: its lines come after theirs.
        headline = story.headline(comparison, self.title)[:-1] if not comparison else []
        held_to = self.options.held_to
        whole = [self.title] if comparison else story.tell(comparison, self.title, held_to=held_to)
        accept = [f"accept with: {self.accept}"] if self.accept else []
        self._fail(
            [*(headline + seen)[:5], *accept],
            [*whole, *seen, *accept],
            comparison,
            rendering.encode(now),
        )
        return self._encoded(picture)

    def _mosaic(self, one: Record, like: rendering.Mosaic | None = None) -> rendering.Mosaic:
        sample = self.options.sample or 0
        channels = self.options.channels
        return pictures.mosaic(one, sample=sample, channels=channels, like=like)

    def _encoded(self, picture: Picture) -> bytes:
        return _encoded(self._mosaic(picture.one), table_files.dump(picture.numbers))


def _encoded(mosaic: rendering.Mosaic, numbers: bytes) -> bytes:
    return rendering.encode(mosaic, numbers.decode(), max_bytes=rendering.MAX_BYTES)


def _under_key_of(numbers: tables.Table, stored: tables.Table) -> tables.Table:
    """Return a picture's stored numbers under its key now: the file's name binds the two."""
    if len(stored.lines) != 1:
        return stored
    key = numbers.lines[0].key
    return replace(stored, lines=(replace(stored.lines[0], key=key),))


def _file_behind(path: Path) -> Path:
    """Return the file to write for a path that may be a symbolic link.

    What is linked within a folder of snapshots is written where it is. A link that leads out
    of it, such as into the cache of a tool for large files, is replaced: that file is not ours.
    """
    if not path.is_symlink():
        return path
    # Not `resolve`, which fails where links lead round in a circle.
    target, folder = Path(os.path.realpath(path)), path.parent.parent.resolve()
    return target if target.is_relative_to(folder) else path


def _look(
    drawn: rendering.Mosaic, now: rendering.Mosaic, comparison: comparing.Comparison
) -> list[str]:
    """Say which channels look different when drawn over the baseline's ranges of values."""
    if now.channels != drawn.channels:
        return ["picture: it shows other channels than the baseline's; see channels="]
    levels = comparison.entries[0].levels
    moved = rendering.changes(drawn, now) if drawn.tiles.shape == now.tiles.shape else None
    difference = differences.compare(
        drawn.tiles, now.tiles, drawn.channels, levels=levels, moved=moved
    )
    return [f"picture: {text}" for text in difference.lines()]


def as_bytes(data: object) -> bytes:
    """Return serialized data as it is written: syrupy's types say that it may be text."""
    return data if isinstance(data, bytes) else str(data).encode()
