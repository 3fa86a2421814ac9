"""Shape contracts over many layers: held against what was found, and proposed from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral

from pytest_featuremaps.checks import shapes
from pytest_featuremaps.checks.grammar import Spec
from pytest_featuremaps.errors import ShapeSpecError
from pytest_featuremaps.wording import plain

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


@dataclass(frozen=True)
class Clause:
    """What one layer's shape should be, and what it is.

    Attributes:
        key: the layer's key, which says where a name was bound.
        title: how messages name the layer.
        spec: the shape that is expected.
        shape: the shape that was found.
    """

    key: str
    title: str
    spec: Spec
    shape: tuple[int, ...]


@dataclass
class Agreement:
    """What holding many shapes against one set of names gave.

    Attributes:
        bound: the size of every name.
        origins: where each name was bound, in words.
        broken: the clauses that do not hold, each with the reason.
    """

    bound: dict[str, int]
    origins: dict[str, str]
    broken: list[tuple[Clause, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The failure in lines, the first broken clause first; empty when all hold."""
        if not self.broken:
            return ""
        (first, reason), *others = self.broken
        count = f"; {len(others) + 1} layers do not fit" if others else ""
        lines = [f"{first.title}: {reason}{count}.", *_sizes(first)]
        for clause, why in others:
            lines += [f"{clause.title}: {why}.", *_sizes(clause)]
        names = [f"{name} = {size} ({self.origins[name]})" for name, size in self.bound.items()]
        return "\n".join([*lines, f"names: {', '.join(names) or 'none'}"])


def tell_one(agreement: Agreement, dims: Mapping[str, int]) -> str:
    """Write the failure of a single clause in lines, with the sizes that were given."""
    clause, reason = agreement.broken[0]
    given = f"  with:     {', '.join(f'{name} = {size}' for name, size in dims.items())}"
    return "\n".join([f"{clause.title}: {reason}.", *_sizes(clause), *([given] if dims else [])])


def hold(clauses: Sequence[Clause], dims: Mapping[str, int]) -> Agreement:
    """Hold the shapes of several layers against one set of names.

    A name is bound by the first layer that has it, also where another of that layer's
    dimensions does not fit, so that what follows is still told apart.

    Args:
        clauses: the layers, in the order in which they bind names.
        dims: sizes already known for names.

    Raises:
        ShapeSpecError: a specification has a slip, or a size that is given is no integer.
            Raised whatever the shapes are.
    """
    _check_sizes(dims)
    known = set(dims)
    for clause in clauses:
        known.update(shapes.names(clause.spec, known))
    agreement = Agreement(dict(dims), dict.fromkeys(dims, "as given"))
    for clause in clauses:
        reason = _hold_one(clause, agreement)
        if reason:
            agreement.broken.append((clause, reason))
    return agreement


def _check_sizes(dims: Mapping[str, object]) -> None:
    for name, size in dims.items():
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise ShapeSpecError(f"{name}={size!r}: the size of a name is an integer")


def _hold_one(clause: Clause, agreement: Agreement) -> str:
    bound, origins = agreement.bound, agreement.origins
    missing = shapes.unbound(clause.spec, bound)
    if missing:
        return f"not checked, because no layer before it could bind {', '.join(missing)}"
    match = shapes.check(clause.spec, clause.shape, bound, origins)
    for name, dimension in match.places.items():
        bound[name] = clause.shape[dimension]
        origins[name] = f"from {plain(clause.key)}, dimension {dimension}"
    return match.reason


def _sizes(clause: Clause) -> Iterator[str]:
    yield f"  expected: {_spaced(clause.spec)}"
    yield f"  found:    {_spaced(clause.shape)}"


def _spaced(sizes: Spec) -> str:
    """Write a specification or a shape as text in the shape language."""
    return " ".join(sizes.split() if isinstance(sizes, str) else map(str, sizes)) or "a scalar"


# ---------------------------------------------------------------- proposing


@dataclass(frozen=True)
class Found:
    """A layer's shape, and what each axis means.

    Attributes:
        key: the layer's key.
        shape: its sizes.
        layout: a letter for each axis, `N` for samples, `C` for channels; None when unknown.
    """

    key: str
    shape: tuple[int, ...]
    layout: str | None


def propose(layers: Sequence[Found]) -> str:
    """Write the shapes found as a call of `assert_shapes`, to be pasted into a test.

    Samples and positions become names, bound where they first stand, and ratios of them
    where those are exact (`H/2`, `4*N`). The number of channels, which a layer's weights
    fix, stays a number, and so do sizes that no name explains.
    """
    dims: dict[str, int] = {}
    specs = [(one.key, " ".join(_tokens(one, dims))) for one in layers]
    lines = [f"        {_quoted(key)}: {_quoted(spec)}," for key, spec in specs]
    given = "".join(f"    {name}={size},\n" for name, size in dims.items())
    return "\n".join(["feature_maps.assert_shapes(", "    {", *lines, "    },", f"{given})"])


def _tokens(one: Found, dims: dict[str, int]) -> Iterator[str]:
    for letter, size in zip(one.layout or "C" * len(one.shape), one.shape, strict=True):
        # A single position is what pooling leaves of any number, and no name's business.
        if letter == "C" or size == 0 or (size == 1 and letter != "N"):
            yield str(size)
        else:
            yield _ratio(letter, size, dims.setdefault(letter, size))


def _ratio(name: str, size: int, known: int) -> str:
    if size == known:
        return name
    if known % size == 0:
        return f"{name}/{known // size}"
    return f"{size // known}*{name}" if size % known == 0 else str(size)


def _quoted(text: str) -> str:
    # JSON leaves some characters as they are that must not reach a terminal; repr() escapes all.
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(text)
