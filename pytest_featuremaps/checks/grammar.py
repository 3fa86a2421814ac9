"""The grammar of shape specs: text such as ``"N 128 H/2 W/2"`` as tokens, and their sizes."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, TypeAlias

from pytest_featuremaps.errors import ShapeSpecError
from pytest_featuremaps.wording import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True

_LEXEMES = re.compile(r"(?P<number>[0-9]+)|(?P<name>[^\W\d]\w*)|(?P<sign>//|[-+*/()])")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2}
# No size needs more, and what is read is thereby bounded whatever the text.
_LONGEST_TOKEN = 100

ANY = "_"
REST = "..."

Spec: TypeAlias = str | tuple[int, ...]
"""The sizes that a shape should have: text in the shape language, or integers."""


@dataclass(frozen=True)
class Token:
    """One token of a spec; `steps` is its arithmetic in reverse Polish order."""

    text: str
    steps: tuple[str | int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it calculates with."""
        steps = (step for step in self.steps if isinstance(step, str))
        return tuple(step for step in steps if step not in _PRECEDENCE)

    @property
    def binds(self) -> bool:
        """Whether it is a name alone, which its first use binds."""
        return self.steps == (self.text,)


def read(spec: Spec) -> tuple[Token, ...]:
    """Read a spec; one text is read once.

    Raises:
        ShapeSpecError: it has a slip.
    """
    return _parse(spec) if isinstance(spec, str) else _from_tuple(spec)


@functools.lru_cache(maxsize=1024)
def _parse(spec: str) -> tuple[Token, ...]:
    tokens = tuple(_read_token(text) for text in spec.split())
    if sum(token.text == REST for token in tokens) > 1:
        raise ShapeSpecError(
            f"the spec {spec!r} has more than one `...`: where each would end cannot be known; "
            "write `_` for a single dimension of any size"
        )
    return tokens


def _from_tuple(spec: object) -> tuple[Token, ...]:
    if not isinstance(spec, tuple):
        raise ShapeSpecError(
            f"a shape spec is text or a tuple of integers, not {type(spec).__name__}: "
            'write "N 128 H W" or (8, 128, 32, 32)'
        )
    return tuple(_from_size(size) for size in spec)


def _from_size(size: object) -> Token:
    if isinstance(size, bool) or not isinstance(size, Integral) or int(size) < 0:
        raise ShapeSpecError(
            f"`{size!r}` in the tuple is not a size: a tuple holds integers from 0 up; "
            'names and `_` need text, as in "N 128 _ _"'
        )
    return Token(str(size), (int(size),))


def _read_token(text: str) -> Token:
    if text in {ANY, REST}:
        return Token(text)
    if len(text) > _LONGEST_TOKEN:
        raise ShapeSpecError(
            f"`{plain(text[:20])}…` has {len(text)} characters: "
            f"a token has at most {_LONGEST_TOKEN}, and tokens are separated by spaces"
        )
    return Token(text, _to_polish(text, _split(text)))


def _split(text: str) -> list[str]:
    lexemes = []
    position = 0
    while position < len(text):
        found = _LEXEMES.match(text, position)
        if found is None:
            raise ShapeSpecError(_sign_rule(text, text[position]))
        if found.lastgroup == "name" and not found.group().isidentifier():
            raise ShapeSpecError(_sign_rule(text, _stranger(found.group())))
        lexemes.append(found.group())
        position = found.end()
    return lexemes


def _stranger(name: str) -> str:
    """Return the first sign that keeps a word from being a name, as `²` does in `H²`."""
    return next((sign for sign in name if not f"_{sign}".isidentifier()), name[0])


def _sign_rule(text: str, sign: str) -> str:
    if sign == ",":
        return f'`{plain(text)}` has a comma: tokens are separated by spaces, as in "N 128 H W"'
    if sign in ".…":
        return f"`{plain(text)}` is no token: any number of dimensions is three dots alone, `...`"
    return (
        f"`{plain(text)}` has the sign `{plain(sign)}`, which no token knows: "
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
    if lexeme == ANY:
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


def evaluate(steps: tuple[str | int, ...], names: Mapping[str, int]) -> int | str:
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
