"""The attention over a few sentences as a picture, in whatever script they are."""

import os
import sys
import unicodedata
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # before pyplot: pictures go to files, without a display

import matplotlib.pyplot as plt
import tensorflow as tf
from matplotlib import font_manager

import keras_attention as ka
from examples.common.files import write_with
from examples.common.tokenizer import SPACE


def draw_alignments(path: Path, translate, texts: list[str], found: list[str], number: int) -> None:
    """The attention of the longest sentences, no two translations alike.

    Columns stand from left to right in the order in which the source is read, in Arabic and Hebrew
    too, so that in each picture the diagonal that falls means the same: translated word by word.
    Each token is written as its script is, from right to left or joined (by matplotlib, from 3.11).
    """
    openings: dict[str, str] = {}
    for i in sorted(range(len(texts)), key=lambda i: (-len(texts[i].split()), -len(texts[i]))):
        openings.setdefault(found[i].partition(" ")[0], texts[i])
    chosen = list(openings.values())[:number]
    results = [
        {name: value.numpy()[0] for name, value in translate(tf.constant([text])).items()}
        for text in chosen
    ]
    labels = [[_labels(result[name]) for name in ("source_tokens", "tokens")] for result in results]
    families, missing = fonts_for("".join("".join(source + target) for source, target in labels))
    if missing:
        fonts = " ".join(sorted({package_for(character) for character in missing}))
        print(f"{path}: no font has {missing[:30]}: install one, such as {fonts}", file=sys.stderr)
    columns = min(2, len(chosen))
    rows = -(-len(chosen) // columns)
    options = {"figsize": (7 * columns, 6 * rows), "squeeze": False, "layout": "constrained"}
    with plt.rc_context({"font.family": [*plt.rcParams["font.family"], *families]}):
        figure, axes = plt.subplots(rows, columns, **options)
        for ax in axes.flat[len(chosen) :]:
            ax.axis("off")
        for ax, result, (source, target) in zip(axes.flat, results, labels, strict=False):
            # One row and column more, for [END], which a translation at the limit lacks.
            weights = result["attention"][: len(target) + 1, : len(source) + 1]
            target = [*target, "[END]"][: len(weights)]
            ka.visualize.plot_alignment(weights, [*source, "[END]"], target, ax=ax)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # told above
            write_with(path, figure.savefig)
    plt.close(figure)


def fonts_for(text: str) -> tuple[list[str], str]:
    """Families of fonts that show what matplotlib's own lacks, and the characters that none has."""
    own = font_manager.get_font(font_manager.findfont(font_manager.FontProperties())).get_charmap()
    missing = {sign for sign in text if ord(sign) not in own and unicodedata.category(sign) != "Cf"}
    families: list[str] = []
    if not missing:
        return families, ""
    # Matplotlib keeps a list of fonts, which may be older than some of them.
    font_manager.fontManager.ttflist += font_manager.FontManager().ttflist
    shown = {
        font.name: missing & set(map(chr, font_manager.get_font(font.fname).get_charmap()))
        for font in sorted(font_manager.fontManager.ttflist, key=lambda font: font.name)
        if "Last Resort" not in font.name and os.path.exists(font.fname)  # that one draws boxes
    }
    while missing & shown[best := max(shown, key=lambda name: len(missing & shown[name]))]:
        families.append(best)
        missing -= shown[best]
    return families, "".join(sorted(missing))


def package_for(character: str) -> str:
    """The package of Debian, and of others by the same name, with a font for a character."""
    if unicodedata.category(character) == "So":  # emoji; matplotlib draws none of those in color
        return "fonts-symbola"
    is_wide = unicodedata.east_asian_width(character) in "WF"
    return "fonts-noto-cjk" if is_wide else "fonts-noto-core"


def _labels(tokens) -> list[str]:
    return [token.decode("utf-8", "replace").replace(SPACE, "") for token in tokens if token]
