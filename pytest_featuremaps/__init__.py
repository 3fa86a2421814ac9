"""Capture, check and snapshot-test the feature maps of PyTorch models.

The names below are the promise; their modules are loaded when first asked for, so that
importing the package, which pytest does in every run, costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_featuremaps.errors import (
        AmbiguousKey,
        BaselineError,
        CaptureError,
        FeatureMapsError,
        FeatureMapsWarning,
        ShapeSpecError,
        UnsupportedTensor,
    )
    from pytest_featuremaps.fake import shapes_only
    from pytest_featuremaps.feature_map import FeatureMap
    from pytest_featuremaps.live import Comparison, compare
    from pytest_featuremaps.maps import FeatureMaps
    from pytest_featuremaps.recording import Recording, capture
    from pytest_featuremaps.snapshots import FeatureSnapshot
    from pytest_featuremaps.tolerances import Tolerance

__all__ = [
    "AmbiguousKey",
    "BaselineError",
    "CaptureError",
    "Comparison",
    "FeatureMap",
    "FeatureMaps",
    "FeatureMapsError",
    "FeatureMapsWarning",
    "FeatureSnapshot",
    "Recording",
    "ShapeSpecError",
    "Tolerance",
    "UnsupportedTensor",
    "capture",
    "compare",
    "shapes_only",
]

_ROOMS = {
    "Comparison": "live",
    "FeatureMap": "feature_map",
    "FeatureMaps": "maps",
    "FeatureSnapshot": "snapshots",
    "Recording": "recording",
    "Tolerance": "tolerances",
    "capture": "recording",
    "compare": "live",
    "shapes_only": "fake",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = import_module(f"{__name__}.{_ROOMS.get(name, 'errors')}")
    value: object = getattr(room, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
