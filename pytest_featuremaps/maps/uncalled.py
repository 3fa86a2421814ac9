"""Why a functional call that was asked for has no feature map, as far as that can be known."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.names.calls import call_path, near_ops, parted
from pytest_featuremaps.names.keys import without_place
from pytest_featuremaps.names.paths import ROOT
from pytest_featuremaps.names.targets import Resolved
from pytest_featuremaps.wording import listed

_HIDDEN = "unless in compiled or scripted code"


def silent(log: Log, model: str | None) -> list[str]:
    """Return the functional calls that a model, or all, were asked for and did not make."""
    return [
        _name(log, label, target)
        for label, target in log.asked_calls.targets
        if model in {None, label} and reason(log, label, target)
    ]


def reason(log: Log, label: str, target: Resolved) -> list[str]:
    """Say why none of the calls that a target means was recorded; no lines when one was.

    The first line is part of a sentence, the others are whole ones.
    """
    op, asked = target.op, log.asked_calls
    layers = [log.layers.get((label, call_path(path, op))) for path in target.paths]
    made = [layer for layer in layers if layer is not None and layer.ran]
    if any(layer.recorded for layer in made):
        return []
    if made:
        problem = made[0].problem or "it gave no tensor"
        return [f"{op!r} was called, but its value could not be recorded: {problem}"]
    places = [(label, path) for path in target.paths]
    left_out = [why for place in places if (why := asked.left_out.get((place, op)))]
    if left_out:
        return [f"{op!r} was called {left_out[0]}"]
    within = [
        path for place, path in zip(places, target.paths, strict=True) if op in _ops(log, place)
    ]
    if within:
        # Only then can it have been seen and not been recorded.
        exactly = call_path(within[0], op)
        only = f"{op!r} was called by layers of torch.nn only, which count where they are"
        return [f"{only} named exactly, such as {exactly!r}"]
    return _not_called(log, label, target)


def missing(log: Log, key: str, model: str | None) -> list[str]:
    """Say why a key of a functional call has no map, as `reason` does; no lines for other keys."""
    captured = ["this call is not captured"]
    found: list[str] = []
    for label, paths in log.paths.items():
        call = parted(without_place(key.removeprefix(f"{label}:")))
        owner = paths.find(call[0]) if call and model in {None, label} else None
        if call is None or owner is None:
            continue
        asked = any(
            label == name and one.op == call[1] and owner in one.paths
            for name, one in log.asked_calls.targets
        )
        exact = Resolved(f'"{call_path(*call)}"', exact=True, paths=(owner,), op=call[1])
        if asked and (lines := reason(log, label, exact)):
            return lines
        found = captured
    return found


def _not_called(log: Log, label: str, target: Resolved) -> list[str]:
    op = target.op
    seen: set[str] = set().union(*(_ops(log, (label, path)) for path in target.paths))
    lines = [
        f"no {op!r} was called in the forward {_place(target)}",
        f"Called there were: {listed(seen)}." if seen else _nothing_seen(log, label, target),
    ]
    others = [
        path
        for (name, path), ops in log.asked_calls.ops.items()
        if name == label and op in ops and path not in target.paths
    ]
    if others:
        lines.append(f"{op!r} was called in: {listed(others, most=6, write=_title)}.")
    lines += _module_of_that_name(log, label, target)
    return lines + _suggestion(target, near_ops(op, seen))


def _nothing_seen(log: Log, label: str, target: Resolved) -> str:
    """Say why no function of torch was seen in the modules that a target means."""
    alone = len(target.paths) == 1
    path, title = (target.paths[0], "It") if alone else (ROOT, "The model")
    seen = log.asked_calls.ran.get((label, path))
    if seen is None:
        return f"{title} was not called while it was captured."
    if not seen:
        return (
            f"{title} ran in a fixture or in another thread only, where functional calls are not "
            "seen."
        )
    if alone:
        return f"It ran and called no function of torch itself, {_HIDDEN}."
    return f"None of them called a function of torch itself, {_HIDDEN}."


def _module_of_that_name(log: Log, label: str, target: Resolved) -> Iterable[str]:
    for path in target.paths:
        module = log.paths[label].find(call_path(path, target.op).removesuffix("()"))
        if module is not None:
            yield f'{module!r} is a module: capture("{module}") records what it returns.'
            return


def _suggestion(target: Resolved, ops: list[str]) -> list[str]:
    owner = target.text.lstrip('"').partition(f"{target.op}()")[0]
    near = [repr(f"{owner}{one}()") for one in ops]
    return [f"Did you mean {' or '.join(near)}?"] if near else []


def _place(target: Resolved) -> str:
    if target.exact:
        return f"of {_title(target.paths[0])}" + (" itself" if target.paths[0] != ROOT else "")
    if len(target.paths) == 1:
        return f"of {_title(target.paths[0])}, the one module that matches"
    return f"of any of the {len(target.paths)} modules that match"


def _title(path: str) -> str:
    return "the model itself" if path == ROOT else repr(path)


def _name(log: Log, label: str, target: Resolved) -> str:
    name = call_path(target.paths[0], target.op) if target.exact else target.text.replace('"', "")
    return f"{label}:{name}" if len(log.paths) > 1 else name


def _ops(log: Log, place: tuple[str, str]) -> set[str]:
    return log.asked_calls.ops.get(place, set())
