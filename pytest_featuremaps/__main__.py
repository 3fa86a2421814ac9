"""`python -m pytest_featuremaps` is the console script `pytest-featuremaps`."""

from __future__ import annotations

from pytest_featuremaps.cli import entry

entry()
