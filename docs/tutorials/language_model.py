# %% [markdown]
# # A small language model
#
# You train a Transformer on Python functions, measure how well it predicts the next token, and let
# it write functions of its own. You see what the cache of keys and values is worth. You need to
# know `keras.Model`, `compile` and `fit`.

# %%
import ast
import pathlib
import re
import sysconfig
import time
import zlib
from collections import Counter

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_attention as ka

keras.utils.set_random_seed(1)

# %% [markdown]
# ## The texts
#
# Python's standard library has thousands of short functions. We remove their docstrings and split
# them into names, numbers and signs. The break of a line is a token with its indentation. A hash of
# the function decides whether it is for training or for the test.

# %%
STEPS = 64
root = pathlib.Path(sysconfig.get_path("stdlib"))
functions = {"train": [], "test": []}
seen = set()
for path in sorted(root.rglob("*.py")):
    if {"test", "tests", "idle_test", "site-packages"} & set(path.parts):
        continue
    for node in ast.walk(ast.parse(path.read_text("utf-8", errors="ignore"))):
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
            tokens = re.findall(r"\n *|\w+|\*\*|[^\w\s]", ast.unparse(node))
            key = zlib.crc32(" ".join(tokens).encode())
            if 12 <= len(tokens) < STEPS and key not in seen:
                seen.add(key)
                functions["test" if key % 10 == 0 else "train"].append(tokens)
print({side: len(of_side) for side, of_side in functions.items()})

# %% [markdown]
# The vocabulary has the 1,000 most frequent tokens; others are `[UNK]`. 0 is padding.

# %%
frequent = Counter(token for tokens in functions["train"] for token in tokens).most_common(1000)
vocabulary = ["", "[start]", "[end]", "[UNK]", *(token for token, _ in frequent)]
number = {token: i for i, token in enumerate(vocabulary)}
START, END, UNKNOWN = 1, 2, 3


def ids(side):
    rows = np.zeros((len(functions[side]), STEPS + 1), "int32")
    for row, tokens in zip(rows, functions[side], strict=True):
        found = [START, *(number.get(token, UNKNOWN) for token in tokens), END]
        row[: len(found)] = found
    return rows


train, test = ids("train"), ids("test")  # (N, T + 1)
print(train.shape, test.shape)
print(" ".join(vocabulary[i] for i in train[1] if i))

# %% [markdown]
# ## The baseline
#
# A trigram model counts. It predicts a token from the two before it, mixed with the shares after
# one token and after none:
#
# $$p(w_t) = \lambda_3\, p(w_t \mid w_{t-2}, w_{t-1}) + \lambda_2\, p(w_t \mid w_{t-1})
# + \lambda_1\, p(w_t) + \frac{\lambda_0}{V}$$
#
# Its perplexity is the exponential of the mean negative log-probability of a token: a model that
# hesitates among ten equally likely tokens has a perplexity of ten.

# %%
counts, contexts = Counter(), Counter()
for row in train.tolist():
    row = [START, *filter(None, row)]  # two tokens before the first one
    for t in range(2, len(row)):
        for n in range(3):
            counts[tuple(row[t - n : t + 1])] += 1
            contexts[tuple(row[t - n : t])] += 1


def trigram(row, mix=(0.01, 0.09, 0.3, 0.6)):
    row = [START, *filter(None, row)]
    for t in range(2, len(row)):
        p = mix[0] / len(vocabulary)
        for n in range(3):
            before = tuple(row[t - n : t])
            p += mix[1 + n] * counts[(*before, row[t])] / max(contexts[before], 1)
        yield np.log(p)


def perplexity(log_probs):
    return float(np.exp(-np.mean(log_probs)))


trigram_perplexity = perplexity([p for row in test.tolist() for p in trigram(row)])
print(f"perplexity of the trigram model: {trigram_perplexity:.1f}")

# %% [markdown]
# ## The model
#
# A block of the Transformer attends from each step to itself and to the steps before it:
# `use_causal_mask` hides those that follow, so that all steps train at once. Attention knows no
# order; the position encoding adds it. `begin` and `step` are for writing: a block keeps the keys
# and values of the steps so far in a cache, and a step computes only its own.

# %%
WIDTH = 96


class LanguageModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(len(vocabulary), WIDTH, mask_zero=True)
        self.positions = ka.SinusoidalPositionEncoding()
        options = {"num_heads": 4, "intermediate_dim": 2 * WIDTH, "dropout": 0.1}
        self.blocks = [ka.TransformerEncoderBlock(**options, norm_first=True) for _ in range(2)]
        self.norm = layers.LayerNormalization()
        self.head = layers.Dense(len(vocabulary))

    def call(self, tokens):
        x = self.positions(self.embedding(tokens))  # (B, T, D)
        for block in self.blocks:
            x = block(x, use_causal_mask=True)
        return self.head(self.norm(x))  # (B, T, V)

    def begin(self, batch_size):
        states = [block.begin(batch_size, max_length=STEPS) for block in self.blocks]
        return {"time": keras.ops.zeros((batch_size, 1), "int32"), "blocks": states}

    def step(self, tokens, state):
        x = self.embedding(tokens)[:, None]
        x, states = self.positions(x, positions=state["time"])[:, 0], []  # (B, D)
        for block, block_state in zip(self.blocks, state["blocks"], strict=True):
            x, weights, block_state = block.step(x, block_state)
            states.append(block_state)
        return self.head(self.norm(x)), weights, {"time": state["time"] + 1, "blocks": states}


# %% [markdown]
# The loss is an ordinary one of Keras. The mask of the embedding reaches it, so that padding does
# not count.

# %%
EPOCHS, BATCH = 5, 32
model = LanguageModel()
rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(train) // BATCH)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(rate), loss)
history = model.fit(train[:, :-1], train[:, 1:], BATCH, EPOCHS, verbose=0)
print("loss of each epoch:", np.round(history.history["loss"], 2))


# %% [markdown]
# ## Result
#
# `ka.search.score` takes the functions of the test through `step` and its cache, and returns the
# log-probability of each. The numbers are those of the training loss, one step at a time.

# %%
targets = np.where(test[:, 1:] == 0, END, test[:, 1:])  # what follows the end does not count
scored = tf.function(ka.search.score)(model.step, model.begin(len(test)), targets, START, END)
tokens = np.count_nonzero(test[:, 1:])
transformer_perplexity = float(np.exp(-np.sum(scored.log_probs) / tokens))
print(f"perplexity: trigram {trigram_perplexity:.1f}, Transformer {transformer_perplexity:.1f}")

# %% [markdown]
# ## Writing
#
# `ka.search.sample` draws one token after the other. A temperature below 1 makes likely tokens
# likelier, `top_p` leaves out the unlikely ones, and a processor forbids `[UNK]`.


# %%
def text(row):
    tokens = " ".join(vocabulary[i] for i in row if i != END)
    tokens = re.sub(r" (\n *) ", r"\1", tokens)
    return re.sub(r" ?([.(\[]) ?| (?=[,:)\]])", lambda found: found[1] or "", tokens)


@tf.function
def write(number):
    return ka.search.sample(
        model.step,
        model.begin(number),
        start_id=START,
        end_id=END,
        max_length=STEPS,
        temperature=0.7,
        top_p=0.95,
        seed=1,
        processors=[ka.processors.SuppressTokens([UNKNOWN])],
    ).tokens[:, 0]  # (B, T)


for row in write(6).numpy():
    print(text(row), end="\n\n")


# %% [markdown]
# ## What the cache is worth
#
# Without a cache, each step runs the model on the whole sequence, and uses one position of the
# result. Both functions below write 32 sequences of 64 tokens.


# %%
@tf.function
def rewrite(tokens):
    for t in tf.range(STEPS):
        logits = model(tokens)[:, t]  # (B, V)
        chosen = tf.argmax(logits, axis=1, output_type="int32")
        place = tf.one_hot(t + 1, STEPS + 1, dtype="int32")[:STEPS]
        tokens = tokens * (1 - place) + chosen[:, None] * place
    return tokens


@tf.function
def write_greedily(number):
    return ka.search.greedy(model.step, model.begin(number), START, None, max_length=STEPS).tokens


def seconds(function, argument):
    function(argument)  # makes the graph
    start = time.perf_counter()
    function(argument)
    return time.perf_counter() - start


first = tf.one_hot(tf.zeros(32, "int32"), STEPS, START, 0, dtype="int32")
without, cached = seconds(rewrite, first), seconds(write_greedily, 32)
print(f"{without:.2f} s without a cache, {cached:.2f} s with it: {without / cached:.1f} times")

# %% [markdown]
# The Transformer hesitates among four to five tokens, the trigram model among almost eight. A name
# that comes back twenty tokens later is out of reach for three counts in a row; attention looks it
# up.

# %%
assert transformer_perplexity < 0.85 * trigram_perplexity
assert cached < without

# %% [markdown]
# ## What next
#
# - [Decoding and search](../decoding-and-search.md): other searches and processors, and `prefill`,
#   which reads a prompt at once.
# - [Mechanisms](../mechanisms.md#transformerencoderblock-transformerdecoderblock): the equations of
#   the block.
# - [Translation](../translation.md): a Transformer with an encoder, trained on your own corpus.
