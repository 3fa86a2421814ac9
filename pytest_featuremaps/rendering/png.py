"""The PNG file of a mosaic: its pixels, and one text chunk that holds what they cannot."""

from __future__ import annotations

import io
import json
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from pytest_featuremaps.errors import FeatureMapsError
from pytest_featuremaps.rendering.mosaic import (
    GUTTER,
    PALETTE,
    Mosaic,
    assemble,
    extent,
    indexed,
    size,
    take_apart,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_featuremaps.rendering.mosaic import Tiles

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True

MAX_BYTES = 1 << 20
"""The largest picture that a repository should be asked to keep."""

MAX_PIXELS = 1 << 24
MAX_TEXT = 1 << 20

_VERSION = 1
_KEYWORD = b"featuremaps"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class BadPicture(FeatureMapsError, ValueError):
    """Bytes that are not a picture written by `encode`."""


class PictureTooLarge(FeatureMapsError, ValueError):
    """A picture above the size that a repository should be asked to keep."""


def encode(mosaic: Mosaic, numbers: str = "", *, max_bytes: int | None = None) -> bytes:
    """Write a mosaic as a palette PNG at native resolution; equal mosaics give equal pixels.

    Args:
        mosaic: what `render` returned.
        numbers: any text to travel in the file.
        max_bytes: the largest file allowed, such as `MAX_BYTES`; None for no limit but those of
            `decode`.

    Raises:
        PictureTooLarge: the file, its pixels or its text would be larger than allowed.
    """
    shape = mosaic.tiles.shape
    check_size(*shape)
    text = _describe(mosaic, numbers)
    if len(text) > MAX_TEXT:
        _refuse(shape, f"carries {len(text):,} characters of text", f"{MAX_TEXT:,}")
    chunks = PngInfo()
    chunks.add_text(_KEYWORD.decode(), text, zip=True)
    file = io.BytesIO()
    indexed(assemble(mosaic.tiles), PALETTE).save(file, "PNG", pnginfo=chunks, compress_level=6)
    if max_bytes is not None and file.tell() > max_bytes:
        _refuse(shape, f"takes {file.tell():,} bytes", f"{max_bytes:,}")
    return file.getvalue()


def as_file(image: Image.Image) -> bytes:
    """Return any picture as the bytes of a PNG, for people to look at."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def check_size(count: int, height: int, width: int) -> None:
    """Refuse to draw tiles of more pixels than anybody can look at.

    Raises:
        PictureTooLarge: laid out, they have more than `MAX_PIXELS` pixels.
    """
    rows, columns = size(count, height, width)
    if rows * columns > MAX_PIXELS:
        _refuse((count, height, width), f"has {rows * columns:,} pixels", f"{MAX_PIXELS:,}")


def _refuse(shape: tuple[int, int, int], found: str, allowed: str) -> NoReturn:
    raise PictureTooLarge(
        f"the picture of {extent(shape)} {found}; at most {allowed} are allowed: choose fewer "
        "channels, for example channels=range(16)"
    )


def _describe(mosaic: Mosaic, numbers: str) -> str:
    """Write what the pixels cannot hold as ASCII JSON; floats at full precision, NaN as null."""
    low, high = (
        [None if math.isnan(end) else end for end in ends.tolist()]
        for ends in (mosaic.low, mosaic.high)
    )
    return json.dumps(
        {
            "version": _VERSION,
            "shape": mosaic.tiles.shape,
            "channels": mosaic.channels,
            "low": low,
            "high": high,
            "layer_max": mosaic.layer_max,
            "numbers": numbers,
        }
    )


def decode(data: bytes) -> tuple[Mosaic, str]:
    """Read what `encode` wrote: the mosaic and the text that travelled with it.

    Sizes are checked before anything is unpacked, so no file of a few bytes can fill the memory.

    Raises:
        BadPicture: the bytes are anything else, whatever they are; the text says what.
    """
    chunks = list(_chunks(data))
    height, width = _checked_size(chunks)
    details = _details(chunks)
    count, *tile = details["shape"]
    if (height, width) != size(count, *tile):
        raise BadPicture(
            f"the picture is {width}x{height} pixels, which does not fit the {count} tiles of "
            f"{tile[1]}x{tile[0]} that it says it holds"
        )
    canvas = _pixels(chunks, height, width)
    tiles = take_apart(canvas, count, *tile)
    if tiles.max(initial=0) >= GUTTER or not np.array_equal(assemble(tiles), canvas):
        raise BadPicture("the lines between the tiles of the picture have been painted over")
    low, high = (np.array(details[end], np.float64) for end in ("low", "high"))
    mosaic = Mosaic(tiles, tuple(details["channels"]), low, high, details["layer_max"])
    return mosaic, details["numbers"]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk the PNG, and stop at the first thing that is not as it was written."""
    _check_signature(data)
    place, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + length]
        checksum = data[place + 8 + length : place + 12 + length]
        if len(checksum) < 4:
            raise BadPicture(f"the picture is cut off after {len(data):,} bytes")
        if zlib.crc32(kind + body) != int.from_bytes(checksum, "big"):
            raise BadPicture(f"the picture is damaged at byte {place:,}: a checksum is wrong")
        yield kind, body
        place += 12 + length
    if place < len(data):
        raise BadPicture(f"the picture ends at byte {place:,}, and something follows it")


def _check_signature(data: bytes) -> None:
    if data.startswith(_SIGNATURE):
        return
    if not data:
        raise BadPicture("the file is empty")
    if data.startswith(b"version https://git-lfs"):
        raise BadPicture("the file is a Git LFS pointer, not the picture: run `git lfs pull`")
    if data.startswith(b"<<<<<<< "):
        raise BadPicture("the file holds merge conflict markers: keep one of the two versions")
    if _SIGNATURE.startswith(data):
        raise BadPicture(f"the picture is cut off after {len(data):,} bytes")
    if data.startswith(b"\x89PNG"):
        raise BadPicture(
            "the line endings of the file were converted: add `*.png binary` to .gitattributes"
        )
    raise BadPicture("the file is not a PNG")


def _checked_size(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Return height and width, once they and the colours are known to be fit for reading."""
    kind, header = chunks[0]
    if kind != b"IHDR" or len(header) != 13:
        raise BadPicture("the picture does not begin with a PNG header")
    width, height, depth, colour = struct.unpack(">IIBBxxx", header)
    if width * height > MAX_PIXELS:
        raise BadPicture(
            f"the picture says it has {width}x{height} pixels; at most {MAX_PIXELS:,} are read"
        )
    palettes = [body for kind, body in chunks if kind == b"PLTE"]
    if (depth, colour) != (8, 3) or palettes != [PALETTE]:
        raise BadPicture("the colours are not ours: another program has saved the picture anew")
    return height, width


def _details(chunks: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    start = _KEYWORD + b"\0\0"
    found = [body for kind, body in chunks if kind == b"zTXt" and body.startswith(start)]
    if len(found) != 1:
        raise BadPicture(
            f"the PNG has {len(found)} text chunks named {_KEYWORD.decode()}, where one is "
            "needed: it was not written here, or another program has saved it anew"
        )
    try:
        details = json.loads(_unpacked(found[0][len(start) :]))
    except (zlib.error, ValueError, RecursionError):
        raise BadPicture("the text chunk of the picture cannot be read") from None
    version = details.get("version") if isinstance(details, dict) else None
    if version != _VERSION:
        raise BadPicture(
            f"the picture has format {version!r:.20}, this version reads format {_VERSION}"
        )
    if not _is_complete(details):
        raise BadPicture("the text chunk of the picture does not describe its tiles")
    return dict(details)


def _unpacked(packed: bytes) -> str:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(packed, MAX_TEXT + 1)  # one more, or a text of just that size
    if not unpacker.eof:  # would never reach its end
        raise ValueError
    return text.decode("ascii")


def _is_complete(details: dict[str, Any]) -> bool:
    match details:
        case {
            "shape": [int(count), int(height), int(width)],
            "channels": [*channels],
            "low": [*low],
            "high": [*high],
            "layer_max": float(layer_max),
            "numbers": str(),
        }:
            return (
                min(count, height, width) >= 0
                and len(channels) == len(low) == len(high) == count
                and all(type(channel) is int for channel in channels)
                and all(map(_is_range, low, high))
                and 0 <= layer_max < math.inf
            )
    return False


def _is_range(low: object, high: object) -> bool:
    if low is None or high is None:
        return low is high
    return type(low) is type(high) is float and -math.inf < low <= high < math.inf


def _pixels(chunks: list[tuple[bytes, bytes]], height: int, width: int) -> Tiles:
    """Unpack the pixels; Pillow is shown what was checked, and no other chunk."""
    needed = [
        chunks[0],
        (b"PLTE", PALETTE),
        *(c for c in chunks if c[0] == b"IDAT"),
        (b"IEND", b""),
    ]
    file = io.BytesIO(
        _SIGNATURE
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in needed
        )
    )
    try:
        with PngImageFile(file) as image:
            return np.frombuffer(image.tobytes(), np.uint8).reshape(height, width)
    except (OSError, SyntaxError):
        raise BadPicture("the pixels of the picture cannot be unpacked") from None
