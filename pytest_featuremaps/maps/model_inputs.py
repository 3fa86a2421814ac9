"""What goes into a model: remembered without holding it, and digested when somebody asks."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.names.leaves import tensors
from pytest_featuremaps.numbers.sketch import digest, digest_text

_MOST_CALLS = 100
_MOST_VALUES = 1000  # of a list without tensors
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


@dataclass(frozen=True)
class _Tensor:
    """A tensor that may be gone or changed when it is asked for."""

    tensor: weakref.ref[torch.Tensor]
    version: int


class ModelInputs:
    """What a model was called with, call by call.

    Neither a tensor nor its bytes are kept, and nothing is read while the model runs. A digest
    is known as long as every tensor is still alive and was not changed in place.
    """

    def __init__(self) -> None:
        self.calls: list[list[str | _Tensor | None]] = []

    def __reduce__(self) -> tuple[type[ModelInputs], tuple[()]]:
        # A weak reference can neither be copied nor pickled; a copy knows nothing.
        return ModelInputs, ()

    def note(self, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Remember one call."""
        if len(self.calls) <= _MOST_CALLS:
            named = {str(place): value for place, value in enumerate(args)} | dict(kwargs)
            try:
                parts = [part for name, one in named.items() for part in _parts(name, one)]
            except Exception:  # noqa: BLE001 - never raised through the user's forward
                parts = [None]
            self.calls.append(parts)

    def digest(self) -> str | None:
        """Return a digest of all calls; None where there was none or one of them is not known."""
        if not 0 < len(self.calls) <= _MOST_CALLS:
            return None
        words = [_word(part) for call in self.calls for part in ["call", *call]]
        known = [word for word in words if word is not None]
        return digest_text(" ".join(known)) if len(known) == len(words) else None


def _parts(name: str, value: object) -> list[str | _Tensor | None]:
    """Return what is known of one argument; None for what is not."""
    found = tensors(value)
    if found:
        return [
            part
            for leaf, one in found
            for part in (f"{name}{leaf} {one.dtype} {tuple(one.shape)}", _weakly(one))
        ]
    plain = value if isinstance(value, list | tuple) else [value]
    known = len(plain) <= _MOST_VALUES and all(isinstance(one, _PLAIN) for one in plain)
    return [f"{name}={value!r}" if known else None]


def _weakly(tensor: torch.Tensor) -> _Tensor:
    return _Tensor(weakref.ref(tensor), _version(tensor))


def _version(tensor: torch.Tensor) -> int:
    # A tensor of inference mode does not count its changes.
    return 0 if tensor.is_inference() else tensor._version


def _word(part: str | _Tensor | None) -> str | None:
    if not isinstance(part, _Tensor):
        return part
    tensor = part.tensor()
    if tensor is None or _version(tensor) != part.version:
        return None
    try:
        return digest(tensor)
    except UnsupportedTensor:
        return None
