"""Fonts for text of any script in pictures that matplotlib draws."""

import contextlib
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib import font_manager


@contextlib.contextmanager
def any_script(text: str, path: Path) -> Iterator[None]:
    """In it matplotlib draws with fonts that show `text`; a line on stderr names what none has.

    Each word is written as its script is, from right to left or joined (by matplotlib, from 3.11).

    Args:
        path: The picture, for that line.
    """
    families, missing = fonts_for(text)
    if missing:
        packages = " ".join(sorted({package_for(character) for character in missing}))
        print(
            f"{path}: no font has {missing[:30]}: install one, such as {packages}", file=sys.stderr
        )
    with (
        plt.rc_context({"font.family": [*plt.rcParams["font.family"], *families]}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # told above
        yield


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
