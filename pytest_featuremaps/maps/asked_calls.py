"""The functional calls that a recording was asked for, and what is known of those not made."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field, replace

from pytest_featuremaps.names.keys import Where
from pytest_featuremaps.names.targets import Resolved


@dataclass(eq=False)
class AskedCalls:
    """The functional calls that were asked for, and what was seen instead of them.

    Attributes:
        targets: what was asked for, each with the name of its model.
        ops: the ops that gave tensors, by the module whose forward called them.
        left_out: why calls of an op were seen and are not recorded, by module and op.
        ran: the modules that are watched and were called, and whether calls were seen then.
        thread: the thread in which calls are seen now; None while they are not.
    """

    targets: list[tuple[str, Resolved]] = field(default_factory=list)
    ops: defaultdict[Where, set[str]] = field(default_factory=lambda: defaultdict(set))
    left_out: dict[tuple[Where, str], str] = field(default_factory=dict)
    ran: dict[Where, bool] = field(default_factory=dict)
    thread: int | None = None

    def ask(self, label: str, target: Resolved) -> None:
        """Add what is asked for, once."""
        if (label, target) not in self.targets:
            self.targets.append((label, target))

    def note_run(self, where: Where) -> None:
        """Note that a module is called."""
        seen = self.thread == threading.get_ident()
        self.ran[where] = self.ran.get(where, False) or seen

    def forget(self, label: str) -> None:
        """Know nothing of a model any more."""
        self.targets = [one for one in self.targets if one[0] != label]
        for known in (self.ops, self.ran):
            for where in [where for where in known if where[0] == label]:
                del known[where]
        for where, op in [one for one in self.left_out if one[0][0] == label]:
            del self.left_out[where, op]

    def copy(self) -> AskedCalls:
        """Return what is known now."""
        ops = defaultdict(set, {where: set(known) for where, known in self.ops.items()})
        return replace(
            self,
            targets=[*self.targets],
            ops=ops,
            left_out=dict(self.left_out),
            ran=dict(self.ran),
            thread=None,
        )

    def rewind(self, before: AskedCalls) -> None:
        """Know again what was known at an earlier time."""
        known = before.copy()
        self.targets, self.left_out, self.ran = known.targets, known.left_out, known.ran
        self.ops.clear()  # it is written to by what watches the calls
        self.ops.update(known.ops)
