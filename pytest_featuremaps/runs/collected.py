"""The tests that pytest has collected: which fixtures they use, and running some of them only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

SNAPSHOT: Final = "feature_snapshot"
"""The fixture of a test that makes comparisons."""


def fixture_names(item: pytest.Item) -> list[str]:
    """Return the fixtures of a test in the order they are set up in; none for other items."""
    names: list[str] = getattr(item, "fixturenames", [])
    return names


def has_baseline(item: pytest.Item) -> bool:
    """Tell whether a test compares feature maps with a baseline."""
    return SNAPSHOT in fixture_names(item)


def keep_only(
    config: pytest.Config, items: list[pytest.Item], is_kept: Callable[[pytest.Item], bool]
) -> None:
    """Deselect all other tests."""
    others = [item for item in items if not is_kept(item)]
    if others:
        items[:] = [item for item in items if is_kept(item)]
        config.hook.pytest_deselected(items=others)
