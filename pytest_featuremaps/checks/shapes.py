"""The shape language: a shape held against a spec such as ``"N 128 H/2 W/2"``."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_featuremaps.checks.grammar import ANY, REST, Spec, Token, evaluate, read
from pytest_featuremaps.errors import ShapeSpecError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


@dataclass(frozen=True)
class Match:
    """What holding a shape against a spec gave.

    Attributes:
        reason: empty when the shape fits; otherwise one line that says which dimensions do not.
        bound: the names bound so far, those given included. Only those given when it does not fit.
        places: the dimension at which each new name was met, also where another does not fit.
    """

    reason: str
    bound: dict[str, int]
    places: dict[str, int] = field(default_factory=dict, compare=False)


def check(
    spec: Spec,
    shape: tuple[int, ...],
    bound: Mapping[str, int],
    origins: Mapping[str, str] = MappingProxyType({}),
) -> Match:
    """Hold a shape against a spec.

    Args:
        spec: tokens separated by spaces: an integer; a name, bound at first use and equal from
            then on; arithmetic on bound names with ``+ - * / // ( )``, where ``/`` must divide
            exactly; ``_`` for any size; at most one ``...`` for any number of dimensions.
            The empty text is a scalar. A tuple of integers is taken as it is.
        shape: the sizes found.
        bound: names that earlier layers have bound.
        origins: where each of them was bound; "from an earlier layer" where it is not said.

    Returns:
        A `Match`; its `reason` is empty when the shape fits.

    Raises:
        ShapeSpecError: the spec has a slip. Raised whatever the shape is.
    """
    tokens = read(spec)
    _require_bound(tokens, bound)
    reason = _count_reason(tokens, len(shape))
    if reason:
        return Match(reason, dict(bound))
    names, places = dict(bound), dict[str, int]()
    reason = "; ".join(_reasons(_spread(tokens, len(shape)), shape, names, places, origins))
    return Match(reason, dict(bound) if reason else names, places)


def names(spec: Spec, known: Collection[str]) -> tuple[str, ...]:
    """Return the names that a spec binds beyond the known ones.

    Raises:
        ShapeSpecError: the spec has a slip, or calculates with a name that nothing binds.
    """
    tokens = read(spec)
    _require_bound(tokens, known)
    return tuple(token.text for token in tokens if token.binds and token.text not in known)


def unbound(spec: Spec, known: Collection[str]) -> tuple[str, ...]:
    """Return the names that a spec calculates with and neither binds before nor are known.

    Raises:
        ShapeSpecError: the spec has a slip.
    """
    bound = set(known)
    missing: dict[str, None] = {}
    for token in read(spec):
        if not token.binds:
            missing |= dict.fromkeys(name for name in token.names if name not in bound)
        bound.update(token.names)
    return tuple(missing)


def _require_bound(tokens: tuple[Token, ...], bound: Collection[str]) -> None:
    known = set(bound)
    binders = {token.text for token in tokens if token.binds}
    for token in tokens:
        missing = [name for name in token.names if name not in known]
        if missing and not token.binds:
            raise ShapeSpecError(_unbound_rule(token.text, missing[0], binders))
        known.update(token.names)


def _unbound_rule(text: str, name: str, binders: set[str]) -> str:
    if name in binders:
        return (
            f"`{text}` uses `{name}`, which only a later token binds: "
            "a spec is read from left to right"
        )
    return (
        f"`{text}` uses `{name}`, which no earlier token or layer binds: "
        f"write `{name}` alone where that size stands first"
    )


def _count_reason(tokens: tuple[Token, ...], found: int) -> str:
    open_ended = any(token.text == REST for token in tokens)
    expected = len(tokens) - open_ended
    if found == expected or (open_ended and found > expected):
        return ""
    dimensions = "1 dimension" if found == 1 else f"{found} dimensions"
    return f"{dimensions}, expected {'at least ' if open_ended else ''}{expected}"


def _reasons(
    tokens: tuple[Token, ...],
    shape: tuple[int, ...],
    names: dict[str, int],
    places: dict[str, int],
    origins: Mapping[str, str],
) -> Iterator[str]:
    """Say of each dimension that differs why, binding into `names` and `places` on the way."""
    for dimension, (token, size) in enumerate(zip(tokens, shape, strict=True)):
        if token.binds and token.text not in names:
            names[token.text], places[token.text] = size, dimension
            continue
        origin = origins.get(token.text, "from an earlier layer")
        if token.text in places:
            origin = f"from dimension {places[token.text]}"
        reason = _reason(token, size, names, origin)
        if reason:
            yield f"dimension {dimension}{reason}"


def _spread(tokens: tuple[Token, ...], dimensions: int) -> tuple[Token, ...]:
    """Put as many `_` in the place of `...` as the shape asks for."""
    at = next((i for i, token in enumerate(tokens) if token.text == REST), None)
    if at is None:
        return tokens
    missing = dimensions - len(tokens) + 1
    return tokens[:at] + (Token(ANY),) * missing + tokens[at + 1 :]


def _reason(token: Token, size: int, names: dict[str, int], origin: str) -> str:
    if token.text == ANY:
        return ""
    if token.binds:
        expected = names[token.text]
        differs = f" ({token.text}) is {size}, but {token.text} = {expected} {origin}"
        return "" if size == expected else differs
    values = ", ".join(f"{name} = {names[name]}" for name in dict.fromkeys(token.names))
    given = f" ({values})" if values else ""
    found = f" ({token.text}) is {size}" if given or len(token.steps) > 1 else f" is {size}"
    wanted = evaluate(token.steps, names)
    if isinstance(wanted, str):
        return f"{found}, but {wanted}{given}"
    return "" if wanted == size else f"{found}, expected {wanted}{given}"
