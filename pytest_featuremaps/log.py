"""What one recording has recorded so far: layers, maps in order, notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_featuremaps.feature_map import FeatureMap
from pytest_featuremaps.keys import Layer, Where
from pytest_featuremaps.paths import Paths


def _unexplained(layer: Layer) -> str:
    del layer
    return "it did not run"


@dataclass(eq=False)
class Log:
    """What one recording has recorded so far.

    Attributes:
        layers: the captured modules, in the order of their models.
        paths: the names in each model, to look aliases up.
        maps: the recorded maps, in order of completion.
        version: changes whenever the maps or their keys may have.
        notes: what recording changed in how the models run.
        explain: says why a layer has no map.
    """

    layers: dict[Where, Layer] = field(default_factory=dict)
    paths: dict[str, Paths] = field(default_factory=dict)
    maps: list[FeatureMap] = field(default_factory=list)
    version: int = 0
    notes: list[str] = field(default_factory=list)
    explain: Callable[[Layer], str] = _unexplained

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, maps: Sequence[FeatureMap]) -> None:
        """Append the maps of one finished call."""
        for one in maps:
            one.place.layer.recorded = True
        self.maps.extend(maps)
        self.version += 1

    def replace(self, maps: Sequence[FeatureMap], calls: Mapping[Where, int]) -> None:
        """Hold these maps and counts of calls instead; a layer not named has no calls."""
        self.maps[:] = maps
        self.version += 1
        for where, layer in self.layers.items():
            layer.calls = calls.get(where, 0)
            layer.problem, layer.recomputed = "", 0
