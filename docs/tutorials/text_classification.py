# %% [markdown]
# # Text classification with attention pooling
#
# You train a classifier that names the missing preposition of an English sentence, see which words
# it used, save it, and serve it. You need to know `keras.Model`, `compile` and `fit`. One layer is
# new: `ka.AttentionPooling`, which replaces `GlobalAveragePooling1D`.

# %%
import ast
import pathlib
import re
import sysconfig
import tempfile
import zlib

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers, ops

import keras_attention as ka

keras.utils.set_random_seed(1)

# %% [markdown]
# ## The texts
#
# The docstrings of Python's standard library hold thousands of English sentences. We keep those
# made of words and commas.

# %%
root = pathlib.Path(sysconfig.get_path("stdlib"))
documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
sentences = set()
for path in root.rglob("*.py"):
    if {"test", "tests", "idle_test", "site-packages"} & set(path.parts):
        continue
    for node in ast.walk(ast.parse(path.read_text("utf-8", errors="ignore"))):
        text = isinstance(node, documented) and ast.get_docstring(node)
        for sentence in re.split(r"(?<=[.:])\s+|\n\s*\n", text or ""):
            words = re.findall(r"[\w'-]+|[^\w\s]", sentence.lower())
            if re.fullmatch(r"[\w\s,'-]+[.:]?", sentence) and 5 <= len(words) <= 40:
                sentences.add(" ".join(words))
print(len(sentences), "sentences")

# %% [markdown]
# Each preposition of a sentence gives one example: the sentence with a blank in its place, and the
# preposition as its class. A hash of the sentence decides whether it is for training or for the
# test. So all examples of a sentence are on one side, and the split stays the same on every
# machine.

# %%
CLASSES = ["of", "to", "in", "for", "from", "by", "on", "with", "as", "at"]
texts, labels, is_test = [], [], []
for sentence in sorted(sentences):
    words = sentence.split()
    for i in range(len(words)):
        if words[i] in CLASSES:
            texts.append(" ".join([*words[:i], "___", *words[i + 1 :]]))
            labels.append(CLASSES.index(words[i]))
            is_test.append(zlib.crc32(sentence.encode()) % 5 == 0)
texts, labels, is_test = map(np.array, (texts, labels, is_test))
majority = np.bincount(labels[is_test]).max() / is_test.sum()
print((~is_test).sum(), "examples to train on,", is_test.sum(), "to test on")
print(texts[is_test][100], "->", CLASSES[labels[is_test][100]])
print(f"always the most frequent class: {majority:.1%} right")

# %% [markdown]
# `TextVectorization` turns texts into word ids: 0 is padding, 1 a word outside the vocabulary.

# %%
vectorize = layers.TextVectorization(4000, standardize=None)
vectorize.adapt(texts[~is_test])
vocabulary = vectorize.get_vocabulary()
ids = vectorize(texts).numpy()  # (N, S)
print(ids.shape, ids[0, :12])

# %% [markdown]
# ## The model
#
# The vector $h_s$ of a position is the embedding of its word plus that of its distance to the
# blank: "depends" one step before the blank says more than "depends" ten steps before it. No
# convolution and no recurrent layer mixes neighbors, so $h_s$ holds one word, and a weight of $h_s$
# is the weight of that word.
#
# Attention pooling (Yang et al. 2016, eq. 5-7) makes one vector $c$ of all positions:
#
# $$u_s = \tanh(W h_s + b), \qquad
# a_s = \frac{\exp(u_s \cdot u_w)}{\sum_{s'} \exp(u_{s'} \cdot u_w)}, \qquad
# c = \sum_s a_s h_s$$
#
# $W$, $b$ and the vector $u_w$ are learned. Average pooling is the case in which all words have the
# same $a_s$.

# %%
BLANK, REACH, WIDTH = vocabulary.index("___"), 6, 64


def build(pooling):
    words = keras.Input((None,), dtype="int32", name="words")  # (B, S)
    place = ops.cumsum(ops.ones_like(words), axis=1)  # 1, 2, ..., S
    blank = ops.max(ops.where(ops.equal(words, BLANK), place, 0), axis=1, keepdims=True)
    distance = ops.clip(place - blank, -REACH, REACH) + REACH  # (B, S)
    word_embedding = layers.Embedding(len(vocabulary), WIDTH, mask_zero=True)
    h = word_embedding(words) + layers.Embedding(2 * REACH + 1, WIDTH)(distance)
    h = layers.Dropout(0.3)(h)  # (B, S, D)
    c = pooling(h, mask=word_embedding.compute_mask(words))  # (B, D)
    return keras.Model(words, layers.Dense(len(CLASSES), "softmax")(c))


# %% [markdown]
# The sum of two embeddings does not carry the mask of the first one, so we pass the mask to the
# pooling. Both poolings take it as an argument. The two models differ in the pooling and in nothing
# else.

# %%
accuracies, models = {"majority": majority}, {}
for name, pooling in {
    "average": layers.GlobalAveragePooling1D(),
    "attention": ka.AttentionPooling(WIDTH, name="pooling"),
}.items():
    model = models[name] = build(pooling)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(4e-3), loss, metrics=["accuracy"])
    model.fit(ids[~is_test], labels[~is_test], 64, epochs=6, verbose=0)
    _, accuracies[name] = model.evaluate(ids[is_test], labels[is_test], verbose=0)
for name, accuracy in accuracies.items():
    print(f"{name:10} {accuracy:.1%}")

# %% [markdown]
# The average counts each word once, wherever it stands: it knows which words are in the sentence,
# not which of them are beside the blank. Attention finds out by itself that these matter.
#
# ## The words that counted
#
# `ka.attention_model` gives the weights of a trained model. It takes the name of the layer and
# shares the weights of the model. Positions of padding have a weight of exactly 0, and the others
# sum to 1.

# %%
look = ka.attention_model(models["attention"], "pooling")
test_ids, test_labels = ids[is_test], labels[is_test]
weights = look.predict(test_ids, verbose=0)  # (N, S)
print("largest weight of padding:", weights[test_ids == 0].max())
print("sums:", weights.sum(axis=1).min(), "to", weights.sum(axis=1).max())

# %% [markdown]
# Here are some sentences of the test. The darker a word, the larger its weight.

# %%
predicted = models["attention"].predict(test_ids, verbose=0).argmax(axis=1)
short = np.flatnonzero((test_ids != 0).sum(axis=1) < 13)[::75][:10]
figure, axis = plt.subplots(figsize=(8, 0.3 * len(short) + 0.4), layout="constrained")
axis.axis("off")
axis.set(xlim=(0, 94), ylim=(len(short) - 0.5, -0.5))
style = {"va": "center", "family": "monospace", "size": 10}
for row, i in enumerate(short):
    answer = f"{CLASSES[predicted[i]]:>4} ({CLASSES[test_labels[i]]})"
    axis.text(0, row, answer, weight="bold", **style)
    column = 14
    for word, weight in zip(texts[is_test][i].split(), weights[i], strict=False):
        box = {"facecolor": plt.cm.Oranges(0.8 * weight), "edgecolor": "none", "pad": 2}
        axis.text(column, row, word, bbox=box, **style)
        column += len(word) + 1
axis.set_title("answer (truth) and the words that counted", loc="left")
plt.show()

# %% [markdown]
# The mean weight at each distance from the blank, over the whole test, shows the same. The word
# before the blank counts most, then the word after it.

# %%
blank_at = (test_ids == BLANK).argmax(axis=1)
distance = np.arange(ids.shape[1]) - blank_at[:, None]  # (N, S)
steps = np.arange(-6, 7)
means = [weights[(distance == step) & (test_ids != 0)].mean() for step in steps]
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
axis.bar(steps, means, color="tab:orange")
axis.set(xlabel="distance from the blank, in words", ylabel="mean weight", xticks=steps)
plt.show()

# %% [markdown]
# ## Are the weights honest?
#
# A weight says how much of a word's vector enters $c$. Whether the answer depends on the word is
# another question, and a test answers it: replace the word with the largest weight by the unknown
# word, and count the right answers again. For comparison, replace another word of the same
# sentence, drawn at random.

# %%
rows = np.arange(len(test_ids))
is_word = (test_ids != 0) & (test_ids != BLANK)
largest = np.where(is_word, weights, -1).argmax(axis=1)
is_word[rows, largest] = False
order = np.random.default_rng(1).random(is_word.shape)
drawn = np.where(is_word, order, -1).argmax(axis=1)
for name, position in {"the largest weight": largest, "another word": drawn}.items():
    erased = test_ids.copy()
    erased[rows, position] = 1
    _, accuracy = models["attention"].evaluate(erased, test_labels, verbose=0)
    print(f"without {name:18} {accuracy:.1%}")

# %% [markdown]
# Without its preferred word the model falls far back; without another word it loses little. The
# weights point at the words that the answers depend on.
#
# ## Save and serve
#
# A model that takes text is easier to use than one that takes ids, so we put `TextVectorization` in
# front. The file that `save` writes loads without `custom_objects`: the import of `keras_attention`
# registers its layers.

# %%
sentence = keras.Input((), dtype="string", name="sentence")
label = layers.Identity(name="probabilities")(models["attention"](vectorize(sentence)))
classifier = keras.Model(sentence, label)

folder = pathlib.Path(tempfile.mkdtemp())
classifier.save(folder / "prepositions.keras")
loaded = keras.models.load_model(folder / "prepositions.keras")
few = tf.constant(texts[is_test][:100])
print("equal:", np.array_equal(loaded(few), classifier(few)))

# %% [markdown]
# `ka.export.saved_model` writes a model that TensorFlow Serving, or any program with TensorFlow,
# runs without Keras and without this library. The names of the model's inputs and output layers
# become those of the signature. We ask the served model about sentences that we wrote ourselves.

# %%
ka.export.saved_model(classifier, folder / "served")
served = tf.saved_model.load(folder / "served").signatures["serving_default"]
questions = [
    "the result depends ___ the size of the file",
    "wait ___ the other threads",
    "convert a string ___ an integer",
    "read the first line ___ the socket",
]
answers = served(sentence=tf.constant(questions))["probabilities"].numpy()  # (4, 10)
for question, answer in zip(questions, answers, strict=True):
    best = answer.argmax()
    print(f"{question.replace('___', CLASSES[best].upper()):48} {answer[best]:.2f}")

# %% [markdown]
# The result: with the same embeddings, attention pooling is right more often than average pooling.

# %%
print({name: f"{accuracy:.1%}" for name, accuracy in accuracies.items()})
assert accuracies["attention"] > accuracies["average"] + 0.05
assert accuracies["average"] > accuracies["majority"]

# %% [markdown]
# ## What next
#
# - [Masks](../masks.md): where masks come from, and what the layers guarantee.
# - [Pooling](../mechanisms.md#pooling): `StructuredSelfAttention` pools into several vectors.
# - [Choosing](../choosing.md): a layer for each task.
# - [Saving and export](../saving-and-export.md): signatures of your own, with a search inside.
