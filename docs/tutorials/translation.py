# %% [markdown]
# # Translation with attention
#
# A screen reader reads the emoji of a message aloud, by their names. In this tutorial you train a
# model that translates such messages from Spanish to English. You compare it with the same model
# without attention, draw which Spanish word it reads for each English one, and export it with text
# in and text out. You need to know Keras: layers, `compile` and `fit`.

# %%
import random
import tempfile

import emoji
import keras
import matplotlib.pyplot as plt
import tensorflow as tf
from keras import layers
from sacrebleu.metrics import CHRF

import keras_attention as ka

keras.utils.set_random_seed(1)

# %% [markdown]
# ## Data
#
# The package `emoji` holds the names of all emoji in many languages, translated by people. We leave
# out the names with a skin tone, which repeat the others, and all names with a rare word: each word
# has to occur at least three times. Every tenth name is held out.

# %%
emoji.config.load_language("es")


def read(name):
    return name.strip(":").replace("_", " ").lower()


data = emoji.EMOJI_DATA.values()
names = sorted({(read(name["es"]), read(name["en"])) for name in data if "es" in name})
names = [(es, en) for es, en in names if "skin tone" not in en]
spanish, english = (" ".join(side).split() for side in zip(*names, strict=True))
names = [
    (es, en)
    for es, en in names
    if all(spanish.count(word) >= 3 for word in es.split())
    and all(english.count(word) >= 3 for word in en.split())
]
random.shuffle(names)
held_out, known = names[: len(names) // 10], names[len(names) // 10 :]

# %% [markdown]
# A message is one to four names, joined by commas. The model sees 4,000 messages of the known
# names. The word order differs: *corazón azul* is *blue heart*.


# %%
def messages(number, sizes):
    chosen = [random.sample(known, random.choice(sizes)) for _ in range(number)]
    sides = [zip(*pairs, strict=True) for pairs in chosen]
    return [(" , ".join(source), " , ".join(target)) for source, target in sides]


train = messages(4000, sizes=[1, 2, 3, 4])
print(len(known), "known names,", len(held_out), "held out;", len(train), "messages")
for source, target in train[:2]:
    print(f"{source}\n  -> {target}")

# %% [markdown]
# `TextVectorization` turns a text into word ids, where 0 is padding. It pads each batch to its
# longest text. The target is used twice. The decoder reads it from `[start]` on, and predicts the
# same words one step earlier, up to `[end]`.

# %%
source_ids = layers.TextVectorization(standardize="lower")
target_ids = layers.TextVectorization(standardize="lower")
source_ids.adapt([source for source, _ in train])
target_ids.adapt([f"[start] {target} [end]" for _, target in train])
words = target_ids.get_vocabulary()
START, END = words.index("[start]"), words.index("[end]")


def prepare(source, target):
    target = target_ids(tf.strings.join(["[start]", target, "[end]"], " "))
    return (source_ids(source), target[:, :-1]), target[:, 1:]


pairs = tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*train, strict=True))))
batches = pairs.shuffle(len(train)).batch(64).map(prepare).prefetch(2)

# %% [markdown]
# ## Model
#
# The encoder reads the source in both directions and returns a vector $h_j$ for each word: the
# memory. At step $i$ the decoder compares its state $s_{i-1}$ with all of them ([Bahdanau et al.
# 2015](https://arxiv.org/abs/1409.0473), equations 5 and 6 and appendix A.1.2):
#
# $$e_{ij} = v^\top \tanh(W s_{i-1} + U h_j), \qquad
# \alpha_{ij} = \frac{\exp(e_{ij})}{\sum_k \exp(e_{ik})}, \qquad
# c_i = \sum_j \alpha_{ij} h_j$$
#
# The weights $\alpha_{ij}$ say how much of word $j$ is in the context $c_i$, which the cell reads
# beside the last target word: $s_i = f([y_{i-1}; c_i], s_{i-1})$.
#
# The baseline is the same model with a memory of one vector, the last states of both directions.
# Then $\alpha$ is always 1: all that the decoder knows of the message is in this vector.

# %%
UNITS = 96


def build(attends):
    encoder = [
        keras.Input((None,), dtype="int64"),  # (B, S)
        layers.Embedding(source_ids.vocabulary_size(), UNITS, mask_zero=True),
        layers.Bidirectional(layers.GRU(UNITS, return_sequences=attends)),
    ]
    if not attends:
        encoder.append(layers.Reshape((1, 2 * UNITS)))
    return ka.models.EncoderDecoder(
        keras.Sequential(encoder),  # (B, S, 2 * UNITS)
        layers.Embedding(target_ids.vocabulary_size(), UNITS, mask_zero=True),
        ka.BahdanauDecoder(layers.GRUCell(UNITS), ka.BahdanauAttention(UNITS)),
        layers.Dense(target_ids.vocabulary_size()),  # (B, T, V)
    )


# %% [markdown]
# Both embeddings have `mask_zero=True`. The mask of the source keeps the attention away from the
# padding. The mask of the target reaches the loss and the accuracy, so padding does not count, and
# the loss is an ordinary one of Keras.

# %%
EPOCHS = 6
models = {"with attention": build(True), "without": build(False)}
rate = keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * len(batches))
for name, model in models.items():
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0).history
    print(f"{name}: {history['accuracy'][-1]:.1%} of the words in training")

# %% [markdown]
# The accuracy is measured with the correct words before each word. Translation is harder: the model
# has to go on from its own words.
#
# ## Search
#
# `model.begin` encodes the source, and `model.step` takes one step of the decoder. `ka.search.beam`
# calls them: it keeps the four best translations at every step, and returns tokens, scores and the
# attention weights along each path. All of it runs in the graph, so that the function below takes
# and returns text.


# %%
TEXT = [tf.TensorSpec([None], tf.string, "text")]


def translator(model):
    def translate(text):
        found = ka.search.beam(
            model.step,
            model.begin(source_ids(text)),
            start_id=START,
            end_id=END,
            max_length=40,
            beam_width=4,
        )
        tokens = found.tokens[:, 0]  # (B, T), the best; after its end all are END
        text = tf.where(tokens == END, "", tf.gather(words, tokens))
        text = tf.strings.strip(tf.strings.reduce_join(text, axis=1, separator=" "))
        return {"text": text, "attention": found.attention[:, 0]}  # (B,), (B, T, S)

    return tf.function(translate, TEXT)


translators = {name: translator(model) for name, model in models.items()}

# %% [markdown]
# ## Result
#
# The test messages are random combinations of two to five known names; almost none of them was in
# the training data, where no message had five names. The plot shows how many translations are equal
# to the reference, word for word.

# %%
sizes, exact, chrf = [2, 3, 4, 5], {}, CHRF()
tests = [messages(100, sizes=[size]) for size in sizes] + [held_out]
for name, translate in translators.items():
    exact[name] = []
    for test in tests:
        sources, references = map(list, zip(*test, strict=True))
        found = translate(tf.constant(sources))["text"]
        texts = [text.decode() for text in found.numpy()]
        equal = sum(a == b for a, b in zip(texts, references, strict=True)) / len(test)
        exact[name].append(equal)
        score = chrf.corpus_score(texts, [references]).score
        print(f"{name}: {len(test)} texts, {equal:.0%} exact, chrF {score:.1f}")

_, ax = plt.subplots(figsize=(6, 3.5))
for name, values in exact.items():
    ax.plot(sizes, values[:-1], marker="o", label=name)
ax.set(xlabel="names in the message", ylabel="exact translations", xticks=sizes)
ax.legend()
plt.show()

# %% [markdown]
# Without attention the vector is full after two or three names. Bahdanau et al. found the same with
# the length of sentences (figure 2). With attention four names are as easy as two. Messages of five
# are longer than any in training, and many fail.
#
# The last test of each model is the held-out names. They are new, though most of their words are in
# other names. About half of them come out right, somewhat more with attention than without.
#
# ## Alignment
#
# The attention weights of a translation show which source word the decoder read for each target
# word. White is 1.

# %%
source, _ = tests[1][0]  # a message of three names
found = translators["with attention"](tf.constant([source]))
target = found["text"][0].numpy().decode()
columns, rows = source.split(), target.split()
weights = found["attention"][0, : len(rows)]  # (T, S)
ka.visualize.plot_alignment(weights, columns, rows)
plt.show()

# %% [markdown]
# Within a name the order turns around, as in *blue heart* and *woman detective*; from name to name
# it goes on. The weights are not a dictionary. Each $h_j$ also knows its neighbors, so a word may
# be read beside its own place, and words that follow from the word before, such as a comma, need no
# place of their own.
#
# ## Export
#
# `ka.export.saved_model` writes the model with the function `translate`: vocabularies and search
# are inside. What loads it needs TensorFlow, but neither Keras nor this library. The lookup table
# of `source_ids` is not a part of the model, so it is a resource.

# %%
folder = tempfile.mkdtemp()
ka.export.saved_model(
    models["with attention"],
    folder,
    signatures={"translate": (translators["with attention"], TEXT)},
    resources=[source_ids],
)
served = tf.saved_model.load(folder)
asked = tf.constant([source, "Mujer nadando , gato negro"])
answer = served.signatures["translate"](text=asked)
for text in answer["text"].numpy():
    print(text.decode())

# %% [markdown]
# ## From TensorFlow's tutorial
#
# [Neural machine translation with
# attention](https://www.tensorflow.org/text/tutorials/nmt_with_attention) builds a model like this
# one from layers of its own. This replaces them:
#
# | there | here |
# |---|---|
# | `TextVectorization` with `[START]` and `[END]` | the same |
# | `Encoder` | a `keras.Sequential` of an embedding and a GRU |
# | `CrossAttention`, of `MultiHeadAttention` | `ka.BahdanauAttention`, or another attention layer |
# | `Decoder`: the cell, then the attention | `ka.LuongDecoder`, or as above `ka.BahdanauDecoder` |
# | `Translator`, a `keras.Model` of both | `ka.models.EncoderDecoder` |
# | `masked_loss`, `masked_acc` | loss and accuracy of Keras, with the mask of the embedding |
# | `get_initial_state`, `get_next_token`, a loop | `model.begin`, `model.step`, `ka.search.beam` |
# | `temperature`, or 0 | `temperature` of `ka.search.sample`; `ka.search.greedy` |
# | `last_attention_weights` of the layer | `attention` of the search, `model.attention_scores` |
# | `Export`, a `tf.Module` | `ka.export.saved_model` |
#
# The last cell checks two statements of this page: the exported model translates as the model does,
# and messages of four names need attention.

# %%
assert answer["text"][0] == target
assert exact["with attention"][2] > 0.8 > 0.4 > exact["without"][2]

# %% [markdown]
# ## What next
#
# - [Translation](../translation.md): the program for your own corpora, with sub-words, checkpoints
#   and a server.
# - [Decoding and search](../decoding-and-search.md): sampling, penalties, and what a search may
#   say.
# - [Captions with visual attention](captioning.md): the same model with a picture as its memory.
# - [Mechanisms](../mechanisms.md#bahdanauattention): the other attention layers.
