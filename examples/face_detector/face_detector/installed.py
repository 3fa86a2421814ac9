"""Find a data file that an installed distribution brought, without importing its package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path


def installed_file(distribution: str, name: str, command: str) -> Path:
    """Return the path of the file `name` (relative to site-packages) of a distribution.

    Raises:
        FileNotFoundError: the distribution, or this file of it, is missing; the message ends
            with `command`, which installs the right release.
    """
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        problem = f"{distribution} is not installed; {name} is read from it."
        raise FileNotFoundError(f"{problem}\nInstall it with:\n    {command}") from None
    path = Path(str(found.locate_file(name)))
    if not path.is_file():
        problem = f"{distribution} {found.version} is installed without {name}."
        raise FileNotFoundError(f"{problem}\nThe release that holds it:\n    {command}")
    return path
