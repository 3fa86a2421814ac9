"""Review with a person at the terminal, who decides on one feature map after the other."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_featuremaps.review import listing
from pytest_featuremaps.review.folder import Result
from pytest_featuremaps.review.grouping import Cause, causes
from pytest_featuremaps.review.records import Map
from pytest_featuremaps.review.selection import Selection
from pytest_featuremaps.wording import counted, plain

_HELP: Final = """\
  a  accept: it becomes the baseline        A  accept this one and all that follow
  r  reject: forget it, keep the baseline   R  reject this one and all that follow
  s  skip: decide later                     S  skip this one and all that follow
  u  undo the last decision                 C  accept this one and all of the same cause
  o  open its pictures                      T  accept the rest of this test
  d  the whole story                        X  reject the rest of this test
  b  back to the one before, undecided      q  stop here; what is decided is carried out
"""
_PROMPT: Final = "[a]ccept [r]eject [s]kip [u]ndo [q]uit, ? for more > "
_LAST: Final = "That was the last one. Enter: carry it out, u: undo > "
_WORDS: Final = {"a": "accept", "r": "reject", "s": "skip"}
_DONE: Final = {"accept": "accepted", "reject": "rejected", "skip": "skipped"}


@dataclass(frozen=True)
class _Stop:
    """One feature map of one test, with every result that is about it: numbers and picture."""

    test: str
    results: list[tuple[Result, Map]]
    cause: Cause


def _stops(selections: Iterable[Selection]) -> list[_Stop]:
    """Return what a person is asked about, in order."""
    found: dict[tuple[str, str, str], _Stop] = {}
    selections = list(selections)
    known = causes([selection.result.record for selection in selections])
    for selection in selections:
        record = selection.result.record
        for one in record.pending:
            if one.key in selection.keys:
                stop = _Stop(record.test, [], known[record.id, one.key])
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
        self._before: list[tuple[dict[int, str], int]] = []
        self._stopped = False

    def run(self, ask: Callable[[str], str]) -> None:
        """Ask about each feature map in order; a keyboard interrupt is the caller's."""
        while not self._stopped:
            if self._place < len(self._stops):
                self._show()
                while not self._obey(_answer(ask, _PROMPT)):
                    pass
            elif self._before and _answer(ask, _LAST) == "u":
                self._undo()
            else:
                return

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
            self._decide(_WORDS[answer.lower()], self._rest())
        elif answer in {"T", "X"}:
            self._decide("accept" if answer == "T" else "reject", self._rest_of_test())
        elif answer == "C":
            self._decide("accept", self._of_the_same_cause())
        elif answer == "u" and self._before:
            self._undo()
        elif answer == "b":
            self._place = max(0, self._place - 1)
            self._decided.pop(self._place, None)
        elif answer == "q":
            self._stopped = True
        else:
            self._tell_more(answer)
            return False
        return True

    def _decide(self, word: str, places: Sequence[int]) -> None:
        self._before.append((dict(self._decided), self._place))
        self._decided.update(dict.fromkeys(places, word))
        if len(places) > 1:
            self._say(f"  {_DONE[word]}: {counted(len(places), 'feature map')}")
        while self._place in self._decided:
            self._place += 1

    def _undo(self) -> None:
        self._decided, self._place = self._before.pop()

    def _rest(self) -> list[int]:
        return [one for one in range(self._place, len(self._stops)) if one not in self._decided]

    def _rest_of_test(self) -> list[int]:
        test = self._stops[self._place].test
        return [place for place in self._rest() if self._stops[place].test == test]

    def _of_the_same_cause(self) -> list[int]:
        cause = self._stops[self._place].cause
        return [place for place in self._rest() if self._stops[place].cause == cause]

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
        elif answer == "u":
            self._say("  Nothing is decided yet.")
        else:
            self._say(_HELP)


def _answer(ask: Callable[[str], str], prompt: str) -> str:
    try:
        return ask(prompt).strip()
    except EOFError:
        return "q"
