"""The captioning example's words and sub-words, of any script, from captions to an export."""

import json
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sacrebleu.metrics import BLEU
from typer.testing import CliRunner

from examples.captioning import inference, pipeline, scoring
from examples.captioning import model as network
from examples.captioning.cli import app
from examples.captioning.config import Config
from examples.captioning.data import Picture
from examples.captioning.run import Run
from examples.captioning.tokenizer import Words, bleu_tokenizer, learn, learn_vocabulary, normalize
from examples.common import tokenizer as subwords
from examples.common.errors import UserError
from examples.common.special import END, PAD, SPECIAL, START, UNK

COLORS = {"红色": (200, 30, 30), "蓝色": (30, 30, 200)}
CHINESE = [
    f"一只{color}的{animal}在{place}{does}"
    for color in COLORS
    for animal in ("小狗", "猫", "大鸟")
    for place in ("雪地里", "河边", "草地上")
    for does in ("奔跑", "睡觉")
]


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


# ---------------------------------------------------------------- words and sub-words


def test_words_come_back():
    words = learn_vocabulary(["a cat above a dog", "a dog"], 2)
    assert words == [*SPECIAL, "a", "dog"]
    made = Words(words)
    assert made.size == 6
    assert made.encode(["a cat a dog", "", "dog"]).to_list() == [[4, UNK, 4, 5], [], [5]]
    ids = tf.constant([[4, 1, 5, END], [END, PAD, PAD, PAD]])
    assert made.decode(ids).numpy().tolist() == [b"a [UNK] dog", b""]
    assert made.pieces(ids).numpy().tolist() == [[b"a", b"[UNK]", b"dog", b""], [b""] * 4]
    assert made.ids(["dog", "cat"]) == [5, UNK]


@pytest.mark.parametrize("kind", ["words", "subwords"])
def test_captions_are_encoded_up_to_a_limit(kind):
    texts = ["a cat a dog", "dog"]
    made = learn(texts, kind, min_count=1, size=300)
    whole = made.encode(texts).to_list()
    numbers, ids = pipeline.encode([Picture("x", ()), Picture("y", tuple(texts))], made, 3)
    assert numbers.tolist() == [1, 1]
    for row, pieces in zip(ids.tolist(), whole, strict=True):
        expected = [START, *pieces[:3], END]
        assert row == expected + [PAD] * (len(row) - len(expected))
    assert ids.dtype == "int32"
    assert made.ids([piece.decode() for piece in made.pieces(whole[0]).numpy()]) == whole[0]


def test_sentences_without_spaces_are_several_pieces():
    made = learn(CHINESE, "auto", min_count=1, size=400)
    assert isinstance(made, subwords.Tokenizer)
    numbers, ids = pipeline.encode([Picture("x", tuple(CHINESE))], made, 50)
    assert numbers.tolist() == [0] * len(CHINESE)
    assert [text.decode() for text in made.decode(ids).numpy()] == CHINESE
    counts = (ids > END).sum(axis=1)
    assert counts.min() >= 3
    assert not (ids == UNK).any()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog with a 狗 on its shirt", "none"),
        ("두 소녀가 그네에 앉아 있다", "none"),
        ("दो लड़कियाँ झूले पर बैठी हैं", "none"),
        ("两个女孩穿着 nike 坐在秋千上", "zh"),
        ("二人の女の子がブランコに座っている", "char"),
        ("เด็กผู้หญิงสองคนนั่งอยู่บนชิงช้า", "char"),
        ("មនុស្សពីរនាក់", "char"),
    ],
)
def test_the_script_decides(caption, expected):
    assert bleu_tokenizer([caption] * 3) == expected
    kind = Words if expected == "none" else subwords.Tokenizer
    assert isinstance(learn([caption] * 3, "auto", 1, 400), kind)
    assert isinstance(learn([caption] * 3, "words", 1, 400), Words)
    assert isinstance(learn([caption] * 3, "subwords", 1, 400), subwords.Tokenizer)


def test_scores_of_text_without_spaces():
    found, references = CHINESE[:6], [[text, CHINESE[-1]] for text in CHINESE[1:7]]
    scores = scoring.scores(found, references)
    metric = BLEU(tokenize="zh", smooth_method="none")
    expected = metric.corpus_score(found, [*map(list, zip(*references, strict=True))]).score
    assert 50 < expected < 100
    assert scores["bleu4"] == round(expected, 2)
    assert scores["exact_match"] == 0
    assert scores["tokenize"] == "zh"
    spaced = [" ".join(text) for text in found], [[*map(" ".join, row)] for row in references]
    at_spaces = scoring.scores(*spaced, "none")
    assert {**scores, "tokenize": "none"} == at_spaces
    assert scoring.scores(found, references, "none")["bleu1"] == 0


def test_pieces_become_words_again():
    maps = np.arange(6.0).reshape(6, 1, 1)
    words, means = scoring.whole_words(["▁a", "▁", "key", "s", "▁dog"], maps)
    assert words == ["a", "keys", "dog"]
    assert [float(map_.item()) for map_ in means] == [0, 2, 4]
    assert scoring.whole_words([], maps) == ([], [])


# ---------------------------------------------------------------- runs


def test_runs_of_words_from_before_load(tmp_path):
    config = Config("toy", "0", images="", size=16, units=6, attention_units=4, channels=5)
    choices = json.loads(config.to_json())
    for name in ("vocabulary", "vocabulary_size", "bleu_tokenize"):
        del choices[name]
    run = Run(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(choices))
    (tmp_path / "vocabulary.txt").write_text("\n".join([*SPECIAL, "a", "dog"]) + "\n")
    run.save_weights(network.build(config, 6, (config.size, config.size, 3)))
    run.check(config)
    loaded, _, _, made = inference.load(run)
    assert loaded == config
    assert made.vocabulary == (*SPECIAL, "a", "dog")


@pytest.mark.parametrize("content", [b"", b"\x0a", b"[PAD]\n[UNK]\n[START]\n[END]\na\n"])
def test_damaged_sub_words(tmp_path, content):
    (tmp_path / "vocabulary.model").write_bytes(content)
    with pytest.raises(
        UserError, match=r"vocabulary\.model: damaged \(not a SentencePiece model\)"
    ):
        inference.load_tokenizer(Run(tmp_path))


def command(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of pictures of one color, and the folder of these."""
    images, folder = (tmp_path_factory.mktemp(name) for name in ("images", "study"))
    content = {"train": [], "dev": [], "test": []}
    for i in range(12):
        color = [*COLORS][i % 2]
        Image.new("RGB", (16, 16), COLORS[color]).save(images / f"{i}.png")
        texts = [f"{text}。" for text in CHINESE if color in text]
        split = "train" if i < 8 else "dev" if i < 10 else "test"
        content[split].append({"image": f"{i}.png", "captions": texts})
    (folder / "captions.json").write_text(json.dumps(content))
    sizes = ["--units", 16, "--channels", 8, "--attention-units", 8, "--embedding", 8, "--size", 16]
    data = ["--images", images, "--captions", folder / "captions.json", "--vocabulary-size", 320]
    steps = ["--epochs", 6, "--learning-rate", 0.03, "--batch-size", 8]
    printed = command("train", *data, *sizes, *steps, "--out", folder)
    assert " sub-words, 144 captions" in printed
    return folder, images


def test_a_run_of_sub_words(study):
    folder, images = study
    run = Run(folder / "soft")
    assert run.vocabulary == folder / "soft" / "vocabulary.model"
    assert not (folder / "soft" / "vocabulary.txt").exists()
    beams = ["--beam-width", 3, "--length-penalty", 2]  # else, so little trained, it says nothing
    command("evaluate", "--out", folder, *beams)
    beam = run.metrics()["beam"]
    assert beam["tokenize"] == "zh"
    assert beam["bleu1"] > 80
    assert beam["rouge_l"] > 80
    command("export", "--out", folder, *beams)
    files = [images / "0.png", images / "11.png"]
    rows = [
        [
            json.loads(line)
            for line in command("caption", "--json", "--model", model, *beams, *files).splitlines()
        ]
        for model in (folder / "saved_model", folder / "soft")
    ]
    for exported, ours in zip(*rows, strict=True):
        assert exported.pop("score") == pytest.approx(ours.pop("score"), abs=1e-5)
        assert exported == ours
        assert len(ours["words"]) > 2
        assert "".join(ours["words"]).replace(subwords.SPACE, " ").strip() == ours["text"]
    *_, text, _ = command("explain", files[0], "--out", folder).splitlines()
    assert text.split() == rows[1][0]["words"]
