# %% [markdown]
# # From hand-written attention
#
# Many projects carry an attention layer from a tutorial or a blog. This page writes the four most
# common ones in the way people write them, replaces each by a layer of this library with the same
# weights, and compares outputs, masks, files, memory and time. At the end you know how to bring
# your own weights over, and what changes. You need to know Keras layers, and what a mask is.

# %%
import re
import resource
import tempfile
from time import process_time
from timeit import repeat

import emoji
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import keras_attention as ka

keras.utils.set_random_seed(1)

# %% [markdown]
# The memory is a batch of emoji names, one vector per letter. `mask` is False at the padding after
# short names. For now the lookup of the letters is random: no layer on this page needs training to
# be compared.

# %%
names = sorted({data["en"] for data in emoji.EMOJI_DATA.values()})[::60]
letters = [re.sub("[^a-z]", "", name.lower()) for name in names]
ids = [[ord(letter) - 96 for letter in word] for word in letters]
ids = keras.utils.pad_sequences(ids, padding="post")  # (B, S)
mask = ids > 0
draw = np.random.default_rng(1).normal
memory = draw(scale=0.5, size=(27, 48)).astype("float32")[ids]  # (B, S, 48)
query = draw(size=(len(ids), 32)).astype("float32")  # (B, 32)
print(memory.shape, f"{1 - mask.mean():.0%} padding")


def compare(name, hand_written, ours):
    difference = np.abs(np.array(hand_written) - np.array(ours)).max()
    print(f"{name}: largest difference {difference:.1e}")
    assert difference < 1e-5


# %% [markdown]
# ## A `BahdanauAttention` of one query
#
# Three `Dense` layers, the query expanded to one step, and a softmax over axis 1:


# %%
class HandWritten(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.W1 = layers.Dense(units)
        self.W2 = layers.Dense(units)
        self.V = layers.Dense(1)

    def call(self, query, values):  # (B, D), (B, S, D)
        scores = self.V(ops.tanh(self.W1(ops.expand_dims(query, 1)) + self.W2(values)))
        weights = ops.softmax(scores, axis=1)  # (B, S, 1)
        return ops.sum(weights * values, axis=1), weights[:, :, 0]


hand_written = HandWritten(16)
hand_written(query, memory)  # builds it

# %% [markdown]
# Its counterpart is `ka.BahdanauAttention(units, normalize=True)`:
#
# $$e_s = g \frac{v}{\lVert v \rVert} \cdot \tanh(W q + U m_s + b)$$
#
# With $g = \lVert v \rVert$ that is the hand-written score. The biases of `W1` and `W2` add up to
# $b$, and the bias of `V` has no effect, as a softmax ignores what all scores have in common. If
# your `Dense` layers have `use_bias=False`, use `ka.BahdanauAttention(units)`, without gain and
# bias.


# %%
def copy_bahdanau(source, score):
    score.query_kernel.assign(source.W1.kernel)
    score.key_kernel.assign(source.W2.kernel)
    score.score_vector.assign(source.V.kernel[:, 0])
    score.gain.assign(np.linalg.norm(source.V.kernel))
    score.bias.assign(source.W1.bias + source.W2.bias)


attention = ka.BahdanauAttention(16, normalize=True)
attention(query, memory)  # builds it
hand_written.W1.bias.assign(draw(size=16))  # as after training
copy_bahdanau(hand_written, attention.score)
old_context, old_weights = hand_written(query, memory)
compare("context", old_context, attention(query, memory))

# %% [markdown]
# Without a mask the two are equal. But the hand-written layer takes no mask, so that it attends to
# the padding:

# %%
_, weights = attention(query, memory, value_mask=mask, return_attention_scores=True)
old_padding = np.where(mask, 0, old_weights).sum(axis=1).mean()
padding = np.where(mask, 0, weights).sum(axis=1).mean()
print(f"weight on padding: hand-written {old_padding:.2f}, here {padding}")

# %% [markdown]
# The usual repair adds `-1e9` to the masked scores. In float16 that number is infinite, and 0 times
# infinity is NaN: every row with a mask is lost. And a name without letters, as real data has them,
# gets a sum of weights of 1, all on padding. (The logarithms of the weights serve as scores here.)

# %%
empty = mask & (np.arange(len(mask)) > 0)[:, None]  # the first name has no letters
for dtype in ("float32", "float16"):
    scores = ops.cast(ops.log(old_weights), dtype)
    penalty = (1 - ops.cast(empty, dtype)) * ops.cast(-1e9, dtype)
    repaired = ops.softmax(scores + penalty)
    ours = ka.masks.masked_softmax(scores, empty)
    print(dtype, "NaN:", np.isnan(repaired).mean(), "here", np.isnan(ours).mean())
    print("    empty name:", np.sum(repaired[0]), "here", np.sum(ours[0]))

# %% [markdown]
# A file with the hand-written layer does not load, unless each reader of the file has the class,
# its config and `custom_objects`. A layer of this library needs `import keras_attention`, nothing
# more.


# %%
def file_of(layer):
    inputs = keras.Input((32,)), keras.Input((None, 48))
    path = tempfile.mkdtemp() + "/model.keras"
    keras.Model(inputs, layer(*inputs)).save(path)
    return path


try:
    keras.saving.load_model(file_of(hand_written))
except (TypeError, ValueError) as error:
    print("hand-written:", type(error).__name__)
loaded = keras.saving.load_model(file_of(attention))
compare("loaded", loaded([query, memory]), old_context)

# %% [markdown]
# ## A cell that attends
#
# A decoder is often a cell around the layer above. Since `keras.layers.RNN` passes only the inputs
# of a step, the cell holds the encoder's outputs as an attribute:


# %%
class AttentionCell(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.attention, self.cell = HandWritten(units), layers.GRUCell(units)
        self.state_size = self.output_size = units
        self.built = True  # the layers inside build themselves

    def call(self, inputs, states):
        context, _ = self.attention(states[0], self.memory)
        return self.cell(ops.concatenate([inputs, context], axis=-1), states)


cell = AttentionCell(32)
cell.memory = memory
old_decoder = layers.RNN(cell, return_sequences=True)
targets = draw(size=(len(ids), 30, 24)).astype("float32")  # (B, T, 24)
old_outputs = old_decoder(targets)  # (B, T, 32)

new_attention = ka.BahdanauAttention(32, normalize=True)
decoder = ka.BahdanauDecoder(layers.GRUCell(32), new_attention)
decoder(targets, memory)
copy_bahdanau(cell.attention, new_attention.score)
decoder.cell.set_weights(cell.cell.get_weights())
compare("decoder", old_outputs, decoder(targets, memory))

# %% [markdown]
# `ka.BahdanauDecoder` takes the memory as an argument of the call. A cell that holds it answers
# from the last one that it was given, without an error. And it projects the memory at every step,
# where `ka.BahdanauDecoder` does so once. At these sizes that is a small part of a training step,
# and both take about as long on a CPU:


# %%
def old_call(targets, memory):
    cell.memory = memory
    return old_decoder(targets)


def cost(call, variables, *inputs):
    """Returns the CPU milliseconds of a training step, and the megabytes it adds."""

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(call(*inputs) ** 2)
        return tape.gradient(loss, variables)

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
    return 1000 / 5 * min(repeat(step, timer=process_time, number=5)), added / 1024


old_time, _ = cost(old_call, old_decoder.trainable_variables, targets, memory)
new_time, _ = cost(decoder, decoder.trainable_variables, targets, memory)
print(f"one step: hand-written {old_time:.0f} ms, BahdanauDecoder {new_time:.0f} ms")

# %% [markdown]
# ## Attention pooling
#
# One vector for a sequence (Yang et al. 2016), of `Dense` layers, a softmax, and a `Lambda`. The
# layer of Zhou et al. 2016 scores $\tanh(h_s)$, without the first `Dense` layer: give
# `ka.AttentionPooling` the identity as kernel.

# %%
states = keras.Input((None, 48))
hidden, scorer = layers.Dense(16, "tanh"), layers.Dense(1, use_bias=False)
alpha = layers.Softmax(axis=1)(scorer(hidden(states)))  # (B, S, 1)
pool = layers.Lambda(lambda x: ops.sum(x, axis=1))(layers.Multiply()([states, alpha]))
old_pooling = keras.Model(states, pool)

pooling = ka.AttentionPooling(16)
pooling(memory)
pooling.set_weights([*hidden.get_weights(), scorer.get_weights()[0][:, 0]])
compare("pooling", old_pooling(memory), pooling(memory))

# %% [markdown]
# Twenty more positions of padding must not change a name. They change the hand-written vector. The
# `Lambda` holds code, and Keras refuses to load code from a file.

# %%
longer = np.pad(memory, [(0, 0), (0, 20), (0, 0)])
longer_mask = np.pad(mask, [(0, 0), (0, 20)])
old_change = np.abs(old_pooling(longer) - old_pooling(memory)).max()
change = np.abs(pooling(longer, mask=longer_mask) - pooling(memory, mask=mask)).max()
print(f"change by padding: hand-written {old_change:.2f}, here {change:.0e}")
path = tempfile.mkdtemp() + "/pooling.keras"
old_pooling.save(path)
try:
    keras.saving.load_model(path)
except ValueError as error:
    print("hand-written:", str(error)[:70])

# %% [markdown]
# ## `keras.layers.AdditiveAttention` with `Dense` layers in front
#
# Keras's layer has no projections, so people put them in front. (With biases in them, take
# `normalize=True` and copy as above.)

# %%
project_query, project_key = (layers.Dense(64, use_bias=False) for _ in range(2))
additive = layers.AdditiveAttention()


def old_additive(queries, memory):
    return additive([project_query(queries), memory, project_key(memory)])


additive_ours = ka.BahdanauAttention(64)
queries = draw(size=(len(ids), 10, 32)).astype("float32")  # (B, T, 32)
old_context = old_additive(queries, memory)
additive_ours(queries, memory)
old_variables = [project_query.kernel, project_key.kernel, additive.scale]
additive_ours.set_weights(old_variables)
compare("additive", old_context, additive_ours(queries, memory))

# %% [markdown]
# What differs is the name without letters, to whose padding Keras's layer attends, and the memory.
# The hidden layer of its score has a number for each query, position and unit, and is kept for the
# gradients. `ka.BahdanauAttention` computes it in parts, and again for the gradients. A training
# step with 512 queries and positions adds this to the largest memory that the process has used
# before (on Linux):

# %%
inputs = [project_query(queries), memory, project_key(memory)]
old_empty = np.abs(additive(inputs, mask=[None, empty])[0]).max()
new_empty = np.abs(additive_ours(queries, memory, value_mask=empty)[0]).max()
print(f"context of the empty name: Keras {old_empty:.2f}, here {new_empty}")

long_inputs = [tf.random.normal((4, 512, width)) for width in (32, 48)]
_, new_memory = cost(additive_ours, additive_ours.trainable_variables, *long_inputs)
_, old_memory = cost(old_additive, old_variables, *long_inputs)
print(f"memory: AdditiveAttention {old_memory:.0f} MB, here {new_memory:.0f} MB")

# %% [markdown]
# ## Result
#
# With the same weights, the four layers and their counterparts return equal numbers without a mask.
# With one, the hand-written baseline attends to padding and the counterpart does not. Files load,
# the memory of a decoder is an argument and is projected once, and the additive score takes a
# fraction of the memory.

# %%
assert max(padding, change) < 1e-5 < 0.1 < min(old_padding, old_change)
assert new_memory < old_memory / 2

# %% [markdown]
# ## What next
#
# - [Masks](../masks.md): what the layers promise about padding.
# - [Migrating from TensorFlow Addons](../migrating-from-tfa.md): weights of `tfa.seq2seq`, by name.
# - [Decoding and search](../decoding-and-search.md): beam search for the decoder that you now have.
# - [Choosing](../choosing.md): other layers for the same task.
