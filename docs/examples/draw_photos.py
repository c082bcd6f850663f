"""Draws a folder of photos by class, to try the tutorial on: `python docs/examples/draw_photos.py my_photos`."""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

COUNTS = {"train": 50, "test": 20}  # images of each class


def photo(kind: str, rng: random.Random) -> Image.Image:
    """A bright shape at some place of a dark background; its sides are 40 to 56 pixels long."""
    width, height = rng.randrange(40, 57), rng.randrange(40, 57)
    image = Image.new("RGB", (width, height), tuple(rng.randrange(60) for _ in range(3)))
    side = rng.randrange(16, 28)
    x, y = rng.randrange(4, width - side - 3), rng.randrange(4, height - side - 3)
    colour = tuple(rng.randrange(120, 256) for _ in range(3))
    pen = ImageDraw.Draw(image)
    if kind == "circle":
        pen.ellipse((x, y, x + side, y + side), fill=colour)
    elif kind == "square":
        pen.rectangle((x, y, x + side, y + side), fill=colour)
    else:
        pen.polygon([(x, y + side), (x + side, y + side), (x + side // 2, y)], fill=colour)
    return image


def main(target: Path) -> None:
    """Writes target/train/CLASS/*.png and target/test/CLASS/*.png."""
    rng = random.Random(0)
    for part, count in COUNTS.items():
        for kind in ("circle", "square", "triangle"):
            folder = target / part / kind
            folder.mkdir(parents=True)
            for index in range(count):
                photo(kind, rng).save(folder / f"{index:03}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
