"""File names for snapshots: any text, nothing lost, nothing outside its folder."""

from __future__ import annotations

import hashlib
import re

# What syrupy drops from a name, or some file system cannot hold.
_FORBIDDEN = frozenset('\\/?*:|"<>%')
_HASH = 8  # characters

NAME_LIMIT = 200
"""The bytes of one file name, less its ending."""


def encode(text: str, *, limit: int) -> str:
    """Write a text as a file name that no other text has.

    Characters that a file name cannot hold are percent-encoded as UTF-8. A name over the
    limit is cut, and ends in a short hash of the whole text.

    Args:
        text: any text.
        limit: the most bytes the name may have in UTF-8, at least 16.
    """
    name = _encoded(text)
    if len(name.encode()) <= limit:
        return name
    return f"{_cut(name, limit)}~{_hash(text)}"


def may_begin_with(name: str, text: str, *, limit: int) -> bool:
    """Tell whether a file name may be that of a text, or of the text and a `[suffix]`."""
    start = _encoded(text)
    if len(start.encode()) >= limit - _HASH - 1:
        return name.startswith(_cut(start, limit))  # the suffix may be cut off
    return name == start or name.startswith(f"{start}[")


def slug(text: str, *, most: int = 60) -> str:
    """Write a text as a short, plain file name: its last characters, and a hash of all of it."""
    readable = re.sub(r"[^A-Za-z0-9_\-\[\]]+", ".", text)[-most:].strip(".")
    return f"{readable}~{_hash(text)}"


def _hash(text: str) -> str:
    code = text.encode(errors="surrogatepass")
    return hashlib.blake2b(code, digest_size=_HASH // 2).hexdigest()


def _cut(name: str, limit: int) -> str:
    return name.encode()[: limit - _HASH - 1].decode(errors="ignore")


def _encoded(text: str) -> str:
    return "".join(map(_encode_character, text))


def _encode_character(character: str) -> str:
    # Not printable are control characters, surrogates, code points that mean nothing, and all
    # that separates words or lines but the space.
    if character not in _FORBIDDEN and character.isprintable():
        return character
    encoded = character.encode(errors="surrogatepass")
    return "".join(f"%{byte:02X}" for byte in encoded)
