"""What can go wrong, as types a caller may catch."""

from __future__ import annotations


class FeatureMapsError(Exception):
    """The base of every error that pytest-featuremaps raises about its own use."""


class CaptureError(FeatureMapsError):
    """A target that cannot be captured, or that did not run."""


class MissingMap(CaptureError, KeyError):
    """No feature map is recorded under this key.

    A `KeyError` as well, so that a `Mapping` behaves as Python users expect; its text
    reads as lines, where a bare `KeyError` would print an escaped string.
    """

    __str__ = Exception.__str__


class AmbiguousKey(FeatureMapsError, LookupError):
    """A short key that means more than one recorded feature map."""


class ShapeSpecError(FeatureMapsError, ValueError):
    """A shape specification that cannot be read."""


class UnsupportedTensor(FeatureMapsError):
    """A tensor that cannot answer what was asked of it, such as a meta tensor's values."""


class FeatureMapsWarning(UserWarning):
    """Something that is recorded as asked, and is probably not what was meant."""


class BaselineError(FeatureMapsError):
    """A comparison with a baseline that cannot be made as it is written."""
