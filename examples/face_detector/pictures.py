"""Say where the committed pictures of the three networks' first layers are."""

from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent / "tests" / "__snapshots__"


def main():
    print("The face as the first layers see it, one tile for each channel:")
    for path in sorted(FOLDER.rglob("*.png")):
        with Image.open(path) as picture:
            width, height = picture.size
        print(f"  {path.resolve()}  ({width}×{height} pixels)")


if __name__ == "__main__":
    main()
