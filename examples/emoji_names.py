"""Learns to translate the English names of emoji into another language, and draws an alignment.

    python -m examples.emoji_names --out out/emoji-names

The names come with the package `emoji`; two CPU cores take about two minutes. This is translation
in one file: words, a GRU encoder and decoder with attention between them, `fit`, beam search, BLEU.
The program `examples.translation` adds sub-words, own corpora, checkpoints and an export.
"""

import argparse
import hashlib
import pathlib
import time
from collections import Counter

import emoji
import keras
import matplotlib
import numpy as np
from sacrebleu.metrics import BLEU

import keras_attention as ka
from examples.common.arguments import positive_integer, seed

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ["[PAD]", "[START]", "[END]", "[UNK]"]


def load_pairs(language):
    """Returns pairs (English words, other words) for training and for the test.

    A pair is kept if each of its words occurs in three names or more. One in ten is for the test,
    chosen by a hash of the emoji.
    """
    emoji.config.load_language(language)
    pairs = {
        symbol: [names[code].strip(":").lower().split("_") for code in ("en", language)]
        for symbol, names in emoji.EMOJI_DATA.items()
        if names["status"] == emoji.STATUS["fully_qualified"] and language in names
    }
    counts = [Counter(word for pair in pairs.values() for word in pair[side]) for side in (0, 1)]
    train, test = [], []
    for symbol, pair in pairs.items():
        if all(counts[side][word] >= 3 for side in (0, 1) for word in pair[side]):
            held_out = hashlib.sha256(symbol.encode()).digest()[0] < 26
            (test if held_out else train).append(pair)
    return train, test


def encode(texts, words):
    """Returns the ids (N, T) of words between [START] and [END], padded."""
    ids = {word: i for i, word in enumerate(words)}
    rows = [[START, *(ids.get(word, UNKNOWN) for word in text), END] for text in texts]
    return keras.utils.pad_sequences(rows, padding="post", value=PAD)


def build_model(source_size, target_size, units=128):
    layers = keras.layers
    return ka.models.EncoderDecoder(
        encoder=keras.Sequential(
            [
                layers.Embedding(source_size, units, mask_zero=True),
                layers.Dropout(0.3),
                layers.Bidirectional(layers.GRU(units // 2, return_sequences=True)),
            ]
        ),
        target_embedding=layers.Embedding(target_size, units, mask_zero=True),
        decoder=ka.LuongDecoder(
            layers.GRUCell(units), ka.LuongAttention("general"), attention_layer_size=units
        ),
        head=layers.Dense(target_size),
    )


def translate(model, source, words, max_length=20):
    """Returns the translations of ids (N, S), lists of words, and their attention (N, T, S)."""
    found = ka.search.beam(
        model.step, model.begin(source), START, END, max_length, beam_width=5, n_best=1
    )
    tokens = keras.ops.convert_to_numpy(found.tokens)[:, 0]
    texts = [[words[token] for token in row if token not in (PAD, END)] for row in tokens]
    return texts, keras.ops.convert_to_numpy(found.attention)[:, 0]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=pathlib.Path, default="out/emoji-names", help="folder to write"
    )
    parser.add_argument("--language", default="fr", choices=sorted({*emoji.LANGUAGES} - {"en"}))
    parser.add_argument("--epochs", type=positive_integer, default=15)
    parser.add_argument("--batch-size", type=positive_integer, default=32)
    parser.add_argument("--units", type=positive_integer, default=128)
    parser.add_argument("--seed", type=seed, default=1)
    options = parser.parse_args(arguments)

    matplotlib.use("Agg")  # The picture goes to a file; a display is not needed.
    keras.utils.set_random_seed(options.seed)
    train, test = load_pairs(options.language)
    vocabularies = [
        [*SPECIAL, *sorted({word for pair in train for word in pair[side]})] for side in (0, 1)
    ]
    source, target = (encode([pair[side] for pair in train], vocabularies[side]) for side in (0, 1))
    target_in = np.where(target[:, :-1] == END, PAD, target[:, :-1])

    model = build_model(*map(len, vocabularies), options.units)
    steps = options.epochs * -(-len(train) // options.batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps), clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    begun = time.perf_counter()
    model.fit((source, target_in), target[:, 1:], options.batch_size, options.epochs, verbose=2)
    print(f"trained on {len(train)} pairs in {time.perf_counter() - begun:.0f} s")

    asked = encode([pair[0] for pair in test], vocabularies[0])
    found, attention = translate(model, asked, vocabularies[1])
    texts, references = [" ".join(words) for words in found], [" ".join(pair[1]) for pair in test]
    exact = np.mean([text == reference for text, reference in zip(texts, references, strict=True)])
    bleu = BLEU().corpus_score(texts, [references]).score
    print(f"BLEU {bleu:.1f}, exact match {exact:.1%} of {len(test)} unseen names")

    options.out.mkdir(parents=True, exist_ok=True)
    longest = max(range(len(test)), key=lambda i: len(test[i][0]))
    names = ["", *test[longest][0], ""]
    weights = attention[longest, : len(found[longest]), : len(names)]
    path = options.out / "alignment.png"
    ka.visualize.plot_alignment(weights, names, found[longest], path=path)
    print(f"drew {path}")


if __name__ == "__main__":
    main()
