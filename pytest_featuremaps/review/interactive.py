"""Review with a person at the terminal, who decides on one feature map after the other."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_featuremaps.review import listing
from pytest_featuremaps.review.folder import Result
from pytest_featuremaps.review.records import Map
from pytest_featuremaps.review.selection import Selection
from pytest_featuremaps.wording import plain

_HELP: Final = """\
  a  accept: it becomes the baseline        A  accept this one and all that follow
  r  reject: forget it, keep the baseline   R  reject this one and all that follow
  s  skip: decide later                     S  skip this one and all that follow
  t  accept the rest of this test           T  reject the rest of this test
  o  open its pictures                      d  the whole story
  b  back to the one before                 q  stop here; what is decided is carried out
"""
_WORDS: Final = {"a": "accept", "r": "reject", "s": "skip"}


@dataclass(frozen=True)
class _Stop:
    """One feature map of one test, with every result that is about it: numbers and picture."""

    test: str
    results: list[tuple[Result, Map]]


def _stops(selections: Iterable[Selection]) -> list[_Stop]:
    """Return what a person is asked about, in order."""
    found: dict[tuple[str, str, str], _Stop] = {}
    for selection in selections:
        record = selection.result.record
        for one in record.pending:
            if one.key in selection.keys:
                stop = _Stop(record.test, [])
                place = (record.test, record.name, one.key)
                found.setdefault(place, stop).results.append((selection.result, one))
    return list(found.values())


class InteractiveReview:
    """A review with a person: what was decided so far, and which feature map is next."""

    def __init__(self, selections: Iterable[Selection], say: Callable[[str], None]) -> None:
        self._say = say
        self._stops = _stops(selections)
        self._decided: dict[int, str] = {}
        self._place = 0

    def run(self, ask: Callable[[str], str]) -> None:
        """Ask about each feature map in order; a keyboard interrupt is the caller's."""
        while self._place < len(self._stops):
            self._show()
            while not self._obey(_answer(ask)):
                pass

    def selections(self, decision: str) -> list[Selection]:
        """Return the feature maps of which this was decided: `accept` or `reject`."""
        keys: dict[Path, set[str]] = {}
        results: dict[Path, Result] = {}
        for place, word in self._decided.items():
            for result, one in self._stops[place].results if word == decision else ():
                results[result.folder] = result
                keys.setdefault(result.folder, set()).add(one.key)
        return [Selection(result, keys[path]) for path, result in results.items()]

    def _show(self) -> None:
        stop = self._stops[self._place]
        self._say(f"\n[{self._place + 1}/{len(self._stops)}] {plain(stop.test, None)}")
        for result, one in stop.results:
            self._say(f"  {listing.describe(result, one)}")
            self._say(f"    {plain(result.record.baseline, None)}")
            for path in listing.pictures(result):
                self._say(f"    {listing.shown(path)}")

    def _obey(self, answer: str) -> bool:
        """Do what was asked; tell whether the walk goes on to another feature map."""
        if answer in _WORDS:
            self._decide(_WORDS[answer], [self._place])
        elif answer.lower() in _WORDS and len(answer) == 1:
            self._decide(_WORDS[answer.lower()], range(self._place, len(self._stops)))
        elif answer in {"t", "T"}:
            self._decide("accept" if answer == "t" else "reject", self._rest_of_test())
        elif answer == "b":
            self._place = max(0, self._place - 1)
        elif answer == "q":
            self._place = len(self._stops)
        else:
            self._tell_more(answer)
            return False
        return True

    def _decide(self, word: str, places: Sequence[int]) -> None:
        for place in places:
            self._decided[place] = word
        self._place = places[-1] + 1

    def _rest_of_test(self) -> list[int]:
        test = self._stops[self._place].test
        places = range(self._place, len(self._stops))
        return [place for place in places if self._stops[place].test == test]

    def _tell_more(self, answer: str) -> None:
        results = [result for result, _ in self._stops[self._place].results]
        if answer == "d":
            lines = (line for result in results for line in result.record.story)
            self._say("\n".join(map(plain, lines)))
        elif answer == "o":
            shown = [path for result in results for path in listing.pictures(result)[-1:]]
            for path in shown:
                webbrowser.open(path.resolve().as_uri())
            if not shown:
                self._say("  A table has no pictures; d tells its whole story.")
        else:
            self._say(_HELP)


def _answer(ask: Callable[[str], str]) -> str:
    try:
        return ask("a r s A R S t T o d b q ? > ").strip()
    except EOFError:
        return "q"
