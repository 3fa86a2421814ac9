"""What one recording has recorded so far: layers, maps in order and by name, notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_featuremaps.maps.asked_calls import AskedCalls
from pytest_featuremaps.maps.model_inputs import ModelInputs
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.names.keys import Layer, Where
from pytest_featuremaps.names.paths import Paths


def _unexplained(layer: Layer) -> str:
    del layer
    return "it did not run"


@dataclass(eq=False)
class Log:
    """What one recording has recorded so far.

    Attributes:
        layers: the captured modules, in the order of their models.
        paths: the names in each model, to look aliases up.
        model_inputs: what went into each model.
        maps: the recorded maps, in order of completion.
        notes: what recording changed in how the models run.
        explain: says why a layer has no map.
        asked_calls: the functional calls that were asked for.
    """

    layers: dict[Where, Layer] = field(default_factory=dict)
    paths: dict[str, Paths] = field(default_factory=dict)
    model_inputs: dict[str, ModelInputs] = field(default_factory=dict)
    maps: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    explain: Callable[[Layer], str] = _unexplained
    asked_calls: AskedCalls = field(default_factory=AskedCalls)
    _named: int = 0
    _by_name: dict[str, list[Record]] = field(default_factory=dict)

    @property
    def captures_nothing(self) -> bool:
        """Whether no module and no functional call was asked for, so that no map can come."""
        return not (self.layers or self.asked_calls.targets)

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, maps: Sequence[Record]) -> None:
        """Append the maps of one finished call."""
        for one in maps:
            one.place.layer.recorded = True
        self.maps.extend(maps)

    def find(self, name: str) -> list[Record]:
        """Return the maps that a key, shorter or longer, may mean.

        A map is put under its names once, at the first look-up after it was recorded, so that
        a test may look one up after each of many calls.
        """
        start = self._named
        new = self.maps[start:]
        for one in new:
            for spelling in one.place.spellings():
                self._by_name.setdefault(spelling, []).append(one)
        self._named = start + len(new)
        # Two threads that look one up at the same time may both have put it there.
        return list(dict.fromkeys(self._by_name.get(name, ())))

    def copy(self) -> Log:
        """Return what is recorded now, without what is only known while a model is recorded."""
        asked = self.asked_calls.copy()
        return Log(dict(self.layers), dict(self.paths), maps=[*self.maps], asked_calls=asked)

    def join(self) -> None:
        """Give every map to its layer as it is counted now, whichever it was recorded by.

        Those of a layer that is not captured any more keep the one they have.
        """
        for one in self.maps:
            layer = one.place.layer
            one.place = one.place._replace(layer=self.layers.get(layer.where, layer))

    def replace(self, maps: Sequence[Record], calls: Mapping[Where, int]) -> None:
        """Hold these maps and counts of calls instead; a layer not named has no calls."""
        self.maps[:] = maps
        self._named = 0
        self._by_name.clear()
        for where, layer in self.layers.items():
            layer.calls = calls.get(where, 0)
            layer.problem, layer.recomputed = "", 0
