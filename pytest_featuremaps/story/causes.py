"""What may be the cause of a change: where it ran, what went in, the weights, or the code."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from pytest_featuremaps.baseline.comparing import Comparison
from pytest_featuremaps.baseline.judging import Entry
from pytest_featuremaps.baseline.tables import INPUTS, Line
from pytest_featuremaps.story.phrases import property_of
from pytest_featuremaps.wording import plain


def likeliest(comparison: Comparison, entry: Entry, before: Line, after: Line) -> str:
    """Return the surest cause of a change.

    Args:
        comparison: what was found.
        entry: the map that changed.
        before: its line in the baseline.
        after: its line here.
    """
    return next(_causes(comparison, entry, before, after))


def environments(comparison: Comparison) -> Iterator[str]:
    """Yield a line on how the two sides ran, where that was not the same."""
    changes = [change for change in comparison.environment_changes if change[0] != INPUTS]
    if changes:
        before = ", ".join(property_of(name, value) for name, value, _ in changes)
        here = ", ".join(property_of(name, value) for name, _, value in changes)
        yield f"{comparison.against}: {before}; here: {here}"


def _causes(comparison: Comparison, first: Entry, before: Line, after: Line) -> Iterator[str]:
    """What may be the cause, from the surest."""
    if first.violations and first.violations[0].quantity == "numbers":
        yield 'no values of it are kept any more (keep="shapes", or shapes_only)'
    own = next(_own(comparison, first, before, after), "")
    other_input = any(change[0] == INPUTS for change in comparison.environment_changes)
    if other_input and not any(environments(comparison)):
        if before.dtype == after.dtype and not _agrees_before(comparison, first):
            yield f"the model's input is not the {comparison.against}'s{own and f', and {own}'}"
        elif own:
            yield f"{own} (the model's input is another one as well)"
    if own:
        yield own
    weights = "same weights" if before.weights and after.weights else "no weights to compare"
    if other_input and before.inputs is None:
        yield f"{weights}, other input of the model, if only by rounding"
    yield weights + _from_input(comparison, before, after)


def _agrees_before(comparison: Comparison, first: Entry) -> bool:
    """Whether the model began as it did, so that its input differs by rounding at most."""
    earlier = takewhile(lambda entry: entry is not first, comparison.entries)
    return any(entry.agrees or entry.kind == "renamed" for entry in earlier)


def _own(comparison: Comparison, first: Entry, before: Line, after: Line) -> Iterator[str]:
    """What changed of the layer itself, from the surest."""
    if first.partner and comparison.moved:
        yield "layers changed places"
    if before.dtype != after.dtype:
        there = f"the {comparison.against}'s in {plain(before.dtype)}"
        yield f"it is computed in {plain(after.dtype)}, {there}"
    if first.has_other_type:
        yield f"it was a {plain(before.module_type)}, now it is a {plain(after.module_type)}"
    if first.has_other_weights:
        yield "its weights changed"
    if "" in (before.weights, after.weights):
        same_input = before.inputs is not None and before.inputs == after.inputs
        suspects = "they or its code" if same_input else "they, its code or its input"
        # They have changed since its first call, by a step, or in it, as those of a BatchNorm.
        known = " any more" if before.weights == "" else ", as in training"
        yield f"its weights are not known{known}: {suspects} changed"


def _from_input(comparison: Comparison, before: Line, after: Line) -> str:
    """What a layer's input says about a change that its weights do not explain."""
    if before.inputs is None or after.inputs is None:
        if comparison.same_input:
            return ", same input of the model: its code changed, or that of a layer before it"
        return ": its code or its input changed"
    if before.inputs == after.inputs:
        return " and same input: its code changed"
    if any(environments(comparison)):
        # Rounding in the layers before it is not the same everywhere.
        return ", other input, perhaps by rounding: its code or its input changed"
    return ", other input: the change is before this layer"
