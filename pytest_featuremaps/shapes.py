"""The shape language: read a spec such as ``"N 128 H/2 W/2"`` and hold a shape against it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_featuremaps.errors import ShapeSpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEXEMES = re.compile(r"(?P<number>[0-9]+)|(?P<name>[^\W\d]\w*)|(?P<sign>//|[-+*/()])")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2}
# No size needs more, and what is read is thereby bounded whatever the text.
_LONGEST_TOKEN = 100

_ANY = "_"
_REST = "..."


@dataclass(frozen=True)
class Match:
    """What holding a shape against a spec gave.

    Attributes:
        reason: Empty when the shape fits; otherwise one line that says which dimension does not.
        bound: The names bound so far, those given included. Only those given when it does not fit.
    """

    reason: str
    bound: dict[str, int]


@dataclass(frozen=True)
class _Token:
    """One token of a spec; `steps` is its arithmetic in reverse Polish order."""

    text: str
    steps: tuple[str | int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        steps = (step for step in self.steps if isinstance(step, str))
        return tuple(step for step in steps if step not in _PRECEDENCE)

    @property
    def binds(self) -> bool:
        return self.steps == (self.text,)


def check(spec: str | tuple[int, ...], shape: tuple[int, ...], bound: Mapping[str, int]) -> Match:
    """Hold a shape against a spec.

    Args:
        spec: Tokens separated by spaces: an integer; a name, bound at first use and equal from
            then on; arithmetic on bound names with ``+ - * / // ( )``, where ``/`` must divide
            exactly; ``_`` for any size; at most one ``...`` for any number of dimensions.
            The empty text is a scalar. A tuple of integers is taken as it is.
        shape: The sizes found.
        bound: Names that earlier layers have bound.

    Returns:
        A `Match`; its `reason` is empty when the shape fits.

    Raises:
        ShapeSpecError: The spec has a slip. Raised whatever the shape is.
    """
    tokens = _parse(spec) if isinstance(spec, str) else _from_tuple(spec)
    _require_bound(tokens, bound)
    names = dict(bound)
    reason = _count_reason(tokens, len(shape)) or _first_reason(tokens, shape, names)
    return Match(reason, dict(bound) if reason else names)


# ---------------------------------------------------------------- reading


@functools.lru_cache(maxsize=1024)
def _parse(spec: str) -> tuple[_Token, ...]:
    tokens = tuple(_read_token(text) for text in spec.split())
    if sum(token.text == _REST for token in tokens) > 1:
        raise ShapeSpecError(
            f"the spec {spec!r} has more than one `...`: where each would end cannot be known; "
            "write `_` for a single dimension of any size"
        )
    return tokens


def _from_tuple(spec: object) -> tuple[_Token, ...]:
    if not isinstance(spec, tuple):
        raise ShapeSpecError(
            f"a shape spec is text or a tuple of integers, not {type(spec).__name__}: "
            'write "N 128 H W" or (8, 128, 32, 32)'
        )
    return tuple(_from_size(size) for size in spec)


def _from_size(size: object) -> _Token:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ShapeSpecError(
            f"`{size!r}` in the tuple is not a size: a tuple holds integers from 0 up; "
            'names and `_` need text, as in "N 128 _ _"'
        )
    return _Token(str(size), (size,))


def _read_token(text: str) -> _Token:
    if text in {_ANY, _REST}:
        return _Token(text)
    if len(text) > _LONGEST_TOKEN:
        raise ShapeSpecError(
            f"`{text[:20]}…` has {len(text)} characters: "
            f"a token has at most {_LONGEST_TOKEN}, and tokens are separated by spaces"
        )
    return _Token(text, _to_polish(text, _split(text)))


def _split(text: str) -> list[str]:
    lexemes = []
    position = 0
    while position < len(text):
        found = _LEXEMES.match(text, position)
        if found is None:
            raise ShapeSpecError(_sign_rule(text, text[position]))
        lexemes.append(found.group())
        position = found.end()
    return lexemes


def _sign_rule(text: str, sign: str) -> str:
    if sign == ",":
        return f'`{text}` has a comma: tokens are separated by spaces, as in "N 128 H W"'
    if sign in ".…":
        return f"`{text}` is no token: any number of dimensions is three dots alone, `...`"
    return (
        f"`{text}` has the sign `{sign}`, which no token knows: "
        "a token is an integer, a name, arithmetic with + - * / // ( ), `_` or `...`"
    )


def _to_polish(text: str, lexemes: list[str]) -> tuple[str | int, ...]:
    """Order a token's arithmetic for a stack (Dijkstra's shunting yard)."""
    steps: list[str | int] = []
    waiting: list[str] = []
    operand_next = True
    for lexeme in lexemes:
        is_operand = lexeme not in _PRECEDENCE and lexeme != ")"
        if is_operand != operand_next:
            raise ShapeSpecError(_order_rule(text, lexeme, operand_next=operand_next))
        if lexeme == "(":
            waiting.append(lexeme)
        elif lexeme == ")":
            _close(text, steps, waiting)
        elif lexeme in _PRECEDENCE:
            _settle(steps, waiting, _PRECEDENCE[lexeme])
            waiting.append(lexeme)
            operand_next = True
        else:
            steps.append(_operand(text, lexeme))
            operand_next = False
    if operand_next:
        raise ShapeSpecError(f"`{text}` ends where a number or a name should follow")
    _settle(steps, waiting, 0)
    if waiting:
        raise ShapeSpecError(f"`{text}` opens a parenthesis that nothing closes")
    return tuple(steps)


def _operand(text: str, lexeme: str) -> str | int:
    if lexeme == _ANY:
        raise ShapeSpecError(f"`{text}` calculates with `_`, which has no size: give it a name")
    return int(lexeme) if lexeme.isdecimal() else lexeme


def _order_rule(text: str, lexeme: str, *, operand_next: bool) -> str:
    if text == "-1":
        return "`-1` is no size: `_` stands for any size"
    if operand_next:
        return (
            f"`{text}` lacks a number or a name before `{lexeme}`: "
            "arithmetic such as `H/2` is written without spaces"
        )
    return f"`{text}` has no sign before `{lexeme}`: a product is written `2*C`"


def _close(text: str, steps: list[str | int], waiting: list[str]) -> None:
    _settle(steps, waiting, 0)
    if not waiting:
        raise ShapeSpecError(f"`{text}` closes a parenthesis that nothing opens")
    waiting.pop()


def _settle(steps: list[str | int], waiting: list[str], precedence: int) -> None:
    """Move the signs that bind at least as tightly, up to an open parenthesis, to the steps."""
    while waiting and _PRECEDENCE.get(waiting[-1], -1) >= precedence:
        steps.append(waiting.pop())


def _require_bound(tokens: tuple[_Token, ...], bound: Mapping[str, int]) -> None:
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


# ---------------------------------------------------------------- matching


def _count_reason(tokens: tuple[_Token, ...], found: int) -> str:
    open_ended = any(token.text == _REST for token in tokens)
    expected = len(tokens) - open_ended
    if found == expected or (open_ended and found > expected):
        return ""
    dimensions = "1 dimension" if found == 1 else f"{found} dimensions"
    return f"{dimensions}, expected {'at least ' if open_ended else ''}{expected}"


def _first_reason(tokens: tuple[_Token, ...], shape: tuple[int, ...], names: dict[str, int]) -> str:
    """Compare dimension by dimension, binding into `names`; the first that differs is told."""
    bound_at: dict[str, int] = {}
    for dimension, (token, size) in enumerate(zip(_spread(tokens, len(shape)), shape, strict=True)):
        if token.binds and token.text not in names:
            names[token.text] = size
            bound_at[token.text] = dimension
            continue
        reason = _reason(token, size, names, bound_at)
        if reason:
            return f"dimension {dimension}{reason}"
    return ""


def _spread(tokens: tuple[_Token, ...], dimensions: int) -> tuple[_Token, ...]:
    """Put as many `_` in the place of `...` as the shape asks for."""
    at = next((i for i, token in enumerate(tokens) if token.text == _REST), None)
    if at is None:
        return tokens
    missing = dimensions - len(tokens) + 1
    return tokens[:at] + (_Token(_ANY),) * missing + tokens[at + 1 :]


def _reason(token: _Token, size: int, names: dict[str, int], bound_at: dict[str, int]) -> str:
    if token.text == _ANY:
        return ""
    if token.binds:
        return _name_reason(token.text, size, names[token.text], bound_at)
    values = ", ".join(f"{name} = {names[name]}" for name in dict.fromkeys(token.names))
    given = f" ({values})" if values else ""
    found = f" ({token.text}) is {size}" if given or len(token.steps) > 1 else f" is {size}"
    expected = _evaluate(token.steps, names)
    if isinstance(expected, str):
        return f"{found}, but {expected}{given}"
    return "" if expected == size else f"{found}, expected {expected}{given}"


def _name_reason(name: str, size: int, expected: int, bound_at: dict[str, int]) -> str:
    if size == expected:
        return ""
    origin = f"from dimension {bound_at[name]}" if name in bound_at else "from an earlier layer"
    return f" ({name}) is {size}, but {name} = {expected} {origin}"


def _evaluate(steps: tuple[str | int, ...], names: Mapping[str, int]) -> int | str:
    """Calculate a token's size; text says why there is none."""
    stack: list[int] = []
    for step in steps:
        if step not in _PRECEDENCE:
            stack.append(step if isinstance(step, int) else names[step])
            continue
        right, left = stack.pop(), stack.pop()
        if step in {"/", "//"} and right == 0:
            return f"{left}{step}{right} divides by zero"
        if step == "/" and left % right:
            return f"{left}/{right} is not a whole number"
        stack.append(_apply(str(step), left, right))
    return stack.pop()


def _apply(sign: str, left: int, right: int) -> int:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    return left * right if sign == "*" else left // right
