"""Look at built distributions: what must be inside is, and nothing else.

Usage: python tests/inspect_wheel.py DIST_FOLDER
"""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main(folder):
    (wheel,) = Path(folder).glob("*.whl")
    (source,) = Path(folder).glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pytest_featuremaps").rglob("*")
        if path.suffix in {".py", ".html", ".css", ".js"}
    }
    assert names - metadata == package | {"pytest_featuremaps/py.typed"}, names - metadata
    assert "pytest_featuremaps/review/page.html" in package, package
    (entry_points,) = (name for name in metadata if name.endswith("entry_points.txt"))
    text = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert text.split("\n\n") == [
        "[console_scripts]\npytest-featuremaps = pytest_featuremaps.cli:entry",
        "[pytest11]\nfeaturemaps = pytest_featuremaps.plugin\n",
    ], text
    assert any(name.endswith("licenses/LICENSE") for name in metadata), metadata
    with tarfile.open(source) as archive:
        inside = {Path(name).parts[1] for name in archive.getnames() if "/" in name}
    assert {"pytest_featuremaps", "tests", "examples", "tox.ini", "README.md"} <= inside, inside
    print(f"{wheel.name}: {len(package)} files, py.typed, the licence and the entry points")


if __name__ == "__main__":
    main(sys.argv[1])
