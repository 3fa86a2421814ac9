"""How much is recorded of a module."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.layouts.layouts import slip
from pytest_featuremaps.names.keys import KEEPS, Keep, Layer


@dataclass(frozen=True)
class CaptureOptions:
    """How much is recorded of a module; see `Recording.attach`."""

    keep: Keep = "values"
    inputs: bool = False
    grads: bool = False
    channels: bool = False
    layout: str | None = None

    def check(self) -> None:
        """Refuse what is no option.

        Raises:
            CaptureError: `keep` or `layout` is none.
        """
        if self.keep not in KEEPS:
            raise CaptureError(
                f"capture(keep={self.keep!r}): keep= is one of {', '.join(map(repr, KEEPS))}."
            )
        reason = slip(self.layout) if self.layout is not None else ""
        if reason:
            raise CaptureError(f"capture(layout={self.layout!r}): {reason}.")

    def joined(self, before: CaptureOptions | Layer, name: str) -> CaptureOptions:
        """Return these options with what was asked before of a layer: the richer of the two.

        Raises:
            CaptureError: two layouts are declared.
        """
        if self.layout and before.layout and self.layout != before.layout:
            raise CaptureError(
                f"{name!r} is captured with layout={before.layout!r} and with "
                f"layout={self.layout!r}."
            )
        return CaptureOptions(
            KEEPS[min(KEEPS.index(self.keep), KEEPS.index(before.keep))],
            self.inputs or before.inputs,
            self.grads or before.grads,
            self.channels or before.channels,
            self.layout or before.layout,
        )
