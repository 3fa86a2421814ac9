"""Capture, check and snapshot-test the feature maps of PyTorch models.

The names below are the promise; their modules are loaded when first asked for, so that
importing the package, which pytest does in every run, costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_featuremaps.baseline.tolerances import Tolerance
    from pytest_featuremaps.errors import (
        AmbiguousKey,
        BaselineError,
        CaptureError,
        FeatureMapsError,
        FeatureMapsWarning,
        ShapeSpecError,
        UnsupportedTensor,
    )
    from pytest_featuremaps.maps.feature_map import FeatureMap
    from pytest_featuremaps.maps.feature_maps import FeatureMaps
    from pytest_featuremaps.maps.two_models import Comparison, compare
    from pytest_featuremaps.recording.fake import shapes_only
    from pytest_featuremaps.recording.recording import Recording, capture
    from pytest_featuremaps.snapshots.feature_snapshot import FeatureSnapshot

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

_HOMES = {
    "Comparison": "maps.two_models",
    "FeatureMap": "maps.feature_map",
    "FeatureMaps": "maps.feature_maps",
    "FeatureSnapshot": "snapshots.feature_snapshot",
    "Recording": "recording.recording",
    "Tolerance": "baseline.tolerances",
    "capture": "recording.recording",
    "compare": "maps.two_models",
    "shapes_only": "recording.fake",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    value: object = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return __all__
