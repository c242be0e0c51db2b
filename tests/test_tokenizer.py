"""Sub-words of the examples: text comes back from its ids, and vocabularies have their sizes."""

import io
import random
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from examples.common.errors import UserError
from examples.common.special import END, PAD, START, UNK
from examples.common.tokenizer import SPACE, Tokenizer, learn

LINES = [
    f"{color} {animal}s saw {number} {color}dish stones"
    for color in ("red", "green", "blue", "yellow")
    for animal in ("cat", "dog", "heron", "badger", "antelope")
    for number in ("one", "eleven", "twenty", "seventy-three")
]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request):
    return Tokenizer(learn(LINES, 298, request.param))


def back(tokenizer, texts):
    ids = tokenizer.encode(tf.constant(texts))
    assert not tf.reduce_any(ids.flat_values == UNK)
    return [text.decode() for text in tokenizer.decode(ids.to_tensor()).numpy()]


@given(texts=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5))
def test_any_text_comes_back(tokenizer, texts):
    assert back(tokenizer, texts) == texts


def test_random_characters_of_all_unicode_come_back(tokenizer):
    rng = random.Random(7)
    signs = [chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000]
    texts = ["".join(rng.choices(signs, k=rng.randrange(30))) for _ in range(10_000)]
    assert back(tokenizer, texts) == texts


@pytest.mark.parametrize(
    "text",
    ["", " ", "  a  b ", "\0a\0", "\x1a", "\x1a0", "a\u2581b", "[START] [UNK] <0x41>", "\n\t"],
)
def test_text_that_looks_like_pieces_comes_back(tokenizer, text):
    assert back(tokenizer, [text, "cat"]) == [text, "cat"]


def test_special_ids_are_no_text(tokenizer):
    ids = tokenizer.encode(tf.constant(["red"])).to_list()[0]
    assert tokenizer.decode([[START, *ids, END, PAD]]).numpy() == [b"red"]
    assert tokenizer.pieces([PAD, END, START]).numpy().tolist() == [b"", b"", b"[START]"]
    pieces = tokenizer.pieces(ids).numpy().tolist()
    assert b"".join(pieces).decode() == SPACE + "red"


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_is_learned_on_any_number_of_cores(monkeypatch, kind):
    rng = random.Random(4)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 6))) for _ in range(300)]
    lines = [" ".join(rng.choices(words, k=8)) for _ in range(500)]
    models = set()
    for cores in (1, 2, 5):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        models.add(learn(lines, 600, kind))
    assert len(models) == 1


def test_case_and_form_are_normalized_on_demand():
    model = learn(LINES, 298)
    text = tf.constant(["  Straße\t cafe\u0301 "])
    assert Tokenizer(model).normalize(text).numpy()[0].decode() == "Straße café"
    assert Tokenizer(model, True).normalize(text).numpy()[0].decode() == "strasse café"
    assert Tokenizer(model).normalize(tf.constant([b"\xff"])).numpy()[0].decode() == "\ufffd"


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_vocabulary_is_as_large_as_asked_for_or_as_its_text_allows(kind):
    assert Tokenizer(learn(LINES, 290, kind)).size == 290
    assert 298 <= Tokenizer(learn(LINES, 100_000, kind)).size < 1000
    with pytest.raises(UserError, match=r"--vocabulary-size 200: expected at least 281"):
        learn(LINES, 200, kind)
    with pytest.raises(UserError, match="no line of the corpus"):
        learn([], 300, kind)


def test_the_same_text_gives_the_same_model():
    assert learn(LINES, 298) == learn(iter(LINES), 298)


def own_model(**options):
    own = io.BytesIO()
    options |= {"hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=own, **options
    )
    return own.getvalue()


def test_own_models_need_our_special_ids():
    with pytest.raises(ValueError, match=r"are \[-1, 0, 1, 2\]; expected \[0, 1, 2, 3\]"):
        Tokenizer(own_model(vocab_size=40))
    for content in (b"", b"\x00", b"\x0a\xff"):
        with pytest.raises(ValueError, match="not a SentencePiece model"):
            Tokenizer(content)


def test_a_tokenizer_outlives_a_new_seed(tokenizer):
    before = back(tokenizer, ["red"])
    keras.utils.set_random_seed(3)
    assert back(tokenizer, ["red"]) == before


# ---------------------------------------------------------------- drawn pieces

TEXTS = ["red herons saw eleven stones", "", "a  \u2581🦊", "คน"]


def test_drawn_pieces_are_of_the_same_text(tokenizer):
    best, sample = tokenizer.encode(tf.constant(TEXTS)).to_list(), tokenizer.sampler(0.3)
    framed = [[START, *ids, END] for ids in best]
    found = [sample(framed, seed) for seed in range(9)]
    for drawn in found:
        ids = tf.ragged.constant(drawn, dtype=tf.int32).to_tensor()
        assert [text.decode() for text in tokenizer.decode(ids).numpy()] == TEXTS
    assert len({str(drawn[0]) for drawn in found}) > 3
    assert max(map(len, (drawn[0] for drawn in found))) > len(best[0])


def test_drawn_pieces_depend_on_the_seed_alone(tokenizer):
    best, sample = tokenizer.encode(tf.constant(LINES)).to_list(), tokenizer.sampler(0.3)
    one, two = sample(best, 1), sample(best, 2)
    assert one != two
    with ThreadPoolExecutor(7) as pool:  # whichever thread draws, and whatever was drawn before
        assert list(pool.map(sample, [best] * 20, [1, 2] * 10)) == [one, two] * 10
    assert Tokenizer(tokenizer.model).sampler(0.3)(best, 1 + 2**31) == one


@pytest.mark.parametrize("kind", ["word", "char"])
def test_words_and_characters_have_no_other_pieces(kind):
    ids = {"pad_id": PAD, "unk_id": UNK, "bos_id": START, "eos_id": END}
    model = own_model(vocab_size=17, model_type=kind, **ids)
    with pytest.raises(UserError, match="--subword-sampling: expected 0 with a model of words or"):
        Tokenizer(model).sampler(0.3)
