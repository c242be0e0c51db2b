"""The captioning example's words: what `normalize` leaves of a caption, in any script."""

import unicodedata

import pytest

from examples.captioning.tokenizer import normalize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Two\tdogs,  running . ", "two dogs running"),
        ("black/white dog -- a man 's", "black white dog a man s"),
        ("A well-known T-shirt isn’t", "a wellknown tshirt isnt"),  # noqa: RUF001
        ("3 Élans_sur l'île", "3 élans sur lîle"),
        ("?!", ""),
        ("two <i>red</i> birds<br>sing<!-- loudly --> &lt;b&gt;here", "two red birds sing here"),
        ("the man&#39;s hat &amp; the boy&amp;#39;s&nbsp;cap", "the mans hat the boys cap"),
        ("3 < 4 and a <3", "3 4 and a 3"),
        ("wel\u00adcome \ufeffhome", "welcome home"),
        ("a \u2764\ufe0f and a \U0001f469\u200d\U0001f692", "a and a"),
        ("İstanbul'da İKİ kedi", "istanbulda iki kedi"),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected
    assert normalize(expected) == expected


@pytest.mark.parametrize(
    "words",
    [
        "दो लड़कियाँ झूले पर बैठी हैं",
        "দুটি মেয়ে দোলনায় বসে আছে",
        "இரண்டு சிறுமிகள் ஊஞ்சலில் உள்ளனர்",
        "เด็กผู้หญิงสองคนนั่งอยู่บนชิงช้า",
        "بِنْتَانِ تَجْلِسَانِ",
        "שְׁתֵּי יְלָדוֹת",
        "دو دختر می‌نشینند",
        "දරුවන් ශ්\u200dරී ලංකාව",
        "അവന്\u200d ഇരിക്കുന്നു",
        "두 소녀가 그네에 앉아 있다",
        "hai cô bé ngồi trên xích đu",
        "两个女孩坐在秋千上",
        "二人の女の子がブランコに座っている",
    ],
)
def test_words_of_any_script_come_back(words):
    composed = unicodedata.normalize("NFC", words)
    assert normalize(words) == composed
    assert normalize(unicodedata.normalize("NFD", words)) == composed
    assert normalize(f"«{words}», (\u200f{words}\u200c)!") == f"{composed} {composed}"
