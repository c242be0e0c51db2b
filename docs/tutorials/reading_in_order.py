# %% [markdown]
# # Reading in order
#
# In speech, and in scripts, the output follows the order of the input, and the same sounds occur
# again and again. This tutorial trains three recognizers that differ only in their attention:
# Bahdanau's, which compares contents; location-sensitive attention, which also sees where it was;
# and monotonic attention, which never moves back. At the end you see which of them still work on
# recordings three times as long as those of the training, and what a guiding loss does for the
# first epochs. You need to know Keras and the encoder-decoder with attention.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_attention as ka

keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)

# %% [markdown]
# ## Numbers read aloud
#
# The data are synthetic, and have what is hard in speech. A speaker reads the digits of a number.
# Each digit has a sound: a vector of 16 channels, such as those of a filter bank. The speaker holds
# it for two to four frames, then pauses for one. Noise covers everything. The recognizer writes the
# digits.
#
# Digits repeat within a number. A frame that sounds like a 7 does not tell which 7 it is.

# %%
PAD, START, END, ZERO = 0, 1, 2, 3  # the digit d has the token ZERO + d
CHANNELS = 16
sounds = rng.normal(size=(10, CHANNELS))


def read_aloud(number, rng):
    spoken = np.zeros((2 * len(number), CHANNELS))  # sounds and pauses take turns
    spoken[::2] = sounds[number]
    holds = np.ones(len(spoken), int)
    holds[::2] = rng.integers(2, 5, len(number))
    frames = np.repeat(spoken, holds, axis=0)  # (S, 16)
    return frames + rng.normal(scale=0.7, size=frames.shape)


number = np.array([7, 7, 1, 0, 7, 3])
plt.figure(figsize=(7, 2.2), layout="constrained")
plt.imshow(read_aloud(number, rng).T, aspect="auto", cmap="viridis")
plt.title("7 7 1 0 7 3, read aloud")
plt.xlabel("frame")
plt.ylabel("channel")
plt.show()

# %% [markdown]
# The blocks of equal color are the sounds. Three of them are those of a 7, which last two to four
# frames.
#
# `recordings` makes a data set for teacher forcing: the frames and the digits so far go in, the
# next digits come out. Frames and digits are padded with zeros to the longest number. `cells` is
# True where a step of the decoder meets a frame and neither is padding; the loss on the attention
# needs it.


# %%
def recordings(count, shortest, longest, rng):
    frames = np.zeros((count, 5 * longest, CHANNELS), "float32")  # (B, S, 16)
    digits = np.full((count, longest + 1), PAD)  # (B, T)
    for row in range(count):
        number = rng.integers(0, 10, rng.integers(shortest, longest + 1))
        spoken = read_aloud(number, rng)
        frames[row, : len(spoken)] = spoken
        digits[row, : len(number) + 1] = [*(ZERO + number), END]
    before = np.pad(digits[:, :-1], [(0, 0), (1, 0)], constant_values=START)
    before[digits == PAD] = PAD
    cells = (digits != PAD)[:, :, None] & frames.any(axis=-1)[:, None]  # (B, T, S)
    return (frames, before), {"digits": digits, "attention": cells}


training = recordings(4096, 5, 10, rng)

# %% [markdown]
# ## One recognizer, three ways to attend
#
# A bidirectional GRU encodes the frames. `ka.BahdanauDecoder` writes the digits: at each step its
# attention takes a weighted mean of the encoded frames, and its GRU cell reads this mean and the
# last digit. With `return_attention_scores=True` the decoder returns the attention weights too:
# $\alpha_{ts}$ is that of step $t$ for frame $s$. They are the second output of the model, so that
# `compile` can give them a loss.

# %%
UNITS, TOKENS = 48, ZERO + 10


def build_recognizer(attention):
    frames = keras.Input((None, CHANNELS))  # (B, S, 16)
    before = keras.Input((None,), dtype="int32")  # (B, T)
    reader = keras.layers.Bidirectional(
        keras.layers.GRU(UNITS, return_sequences=True), name="reader"
    )
    memory = reader(keras.layers.Masking()(frames))  # (B, S, 96)
    embedding = keras.layers.Embedding(TOKENS, 16, mask_zero=True, name="embedding")
    decoder = ka.BahdanauDecoder(
        keras.layers.GRUCell(UNITS),
        attention,
        return_attention_scores=True,
        name="decoder",
    )
    states, weights = decoder(embedding(before), memory)  # (B, T, 48), (B, T, S)
    logits = keras.layers.Dense(TOKENS, name="head")(states)  # (B, T, 13)
    return keras.Model([frames, before], {"digits": logits, "attention": weights})


# %% [markdown]
# The attention layers differ in the score $e_{ts}$ of the encoded frame $m_s$ for the decoder's
# state $q_t$, and in how the scores become weights.
#
# Bahdanau's attention compares contents (Bahdanau et al. 2015, appendix A.1.2). A softmax over the
# frames makes the weights:
#
# $$e_{ts} = v^\top \tanh(W q_t + U m_s)$$
#
# Location-sensitive attention (Chorowski et al. 2015, equations 8 and 9) also reads the weights of
# the step before. A convolution with filters $F$ turns them into features $f_{ts}$ of each frame,
# which tell the score where the last digit was:
#
# $$f_t = F * \alpha_{t-1}, \qquad e_{ts} = w^\top \tanh(W q_t + V m_s + U f_{ts} + b)$$
#
# Monotonic attention (Raffel et al. 2017) has no softmax. Each step inspects one frame after the
# other, from the one where the last step stopped, and stops at frame $s$ with probability $p_{ts}$.
# The weights are the probabilities of stopping there (equation 10):
#
# $$p_{ts} = \sigma(e_{ts} + r), \qquad \alpha_{ts} = p_{ts} \left(
# (1 - p_{t,s-1}) \frac{\alpha_{t,s-1}}{p_{t,s-1}} + \alpha_{t-1,s} \right)$$
#
# Its score here is $e_{ts} = m_s^\top W q_t$, "general". Noise on the score in training drives the
# probabilities towards 0 or 1. The bias $r$ starts at -1, so that $p_{ts}$ is about 0.27 and an
# untrained step passes about three frames, the length of a digit.

# %%
recognizers = {
    "Bahdanau": build_recognizer(ka.BahdanauAttention(UNITS)),
    "location-sensitive": build_recognizer(
        ka.LocationSensitiveAttention(UNITS, filters=8, kernel_size=15)
    ),
    "monotonic": build_recognizer(
        ka.MonotonicAttention(
            "general",
            noise=1.0,
            bias_initializer=keras.initializers.Constant(-1.0),
            seed=1,
        )
    ),
}

# %% [markdown]
# All are trained alike. `guidance` is the weight of the loss on the attention; it is zero for now.
# An epoch is 32 batches, so that one can watch the error fall. The table shows the share of wrong
# digits in the epochs 1, 4, 7 and 10.

# %%
EPOCHS, STEPS = 10, 32


def train(model, epochs=EPOCHS, guidance=0.0):
    rate = keras.optimizers.schedules.CosineDecay(8e-3, EPOCHS * STEPS)
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0),
        loss={
            "digits": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "attention": ka.losses.diagonal_alignment,
        },
        loss_weights={"digits": 1.0, "attention": guidance},
        metrics={"digits": "accuracy"},
        jit_compile=True,
    )
    inputs, targets = training
    history = model.fit(
        inputs,
        targets,
        batch_size=64,
        epochs=epochs,
        steps_per_epoch=STEPS,
        verbose=0,
    )
    return 1 - np.array(history.history["digits_accuracy"])


errors = {name: train(model) for name, model in recognizers.items()}
for name, error in errors.items():
    print(f"{name:20}", *(f"{value:6.1%}" for value in error[::3]))

# %% [markdown]
# This is the error by teacher forcing: the decoder reads the true digits, whatever it wrote itself.
#
# ## Longer recordings
#
# To transcribe a recording, the decoder reads the digits that it wrote. `transcribe` does this with
# greedy search. It takes the layers out of the model by their names.


# %%
def transcribe(model, frames, max_length):
    embedding, decoder, head = map(model.get_layer, ("embedding", "decoder", "head"))
    read = keras.Model(model.inputs[0], model.get_layer("reader").output)

    def step(tokens, state):
        output, weights, state = decoder.step(embedding(tokens), state)
        return head(output), weights, state

    state = decoder.begin(read(frames))
    return ka.search.greedy(step, state, START, END, max_length)


# %% [markdown]
# The error rate is the edit distance: the digits that must be replaced, inserted or deleted, as a
# share of the true ones. The training had 5 to 10 digits; the test has 10, 20 and 30.


# %%
def error_rate(model, length):
    (frames, _), truth = recordings(100, length, length, np.random.default_rng(length))
    found = transcribe(model, frames, max_length=length + 10)
    tokens = found.tokens.numpy()[:, 0].astype("int64")
    written = tf.sparse.from_dense(np.where(tokens >= ZERO, tokens, 0))
    spoken = tf.sparse.from_dense(np.where(truth["digits"] >= ZERO, truth["digits"], 0))
    return float(np.mean(tf.edit_distance(written, spoken)))


lengths = [10, 20, 30]
rates = {}
print(f"{'digits':20}", *(f"{length:6}" for length in lengths))
for name, model in recognizers.items():
    rates[name] = [error_rate(model, length) for length in lengths]
    print(f"{name:20}", *(f"{rate:6.1%}" for rate in rates[name]))

# %% [markdown]
# At 10 digits, a length of the training, all three work. Beyond it, Bahdanau's attention fails: at
# 30 digits about half of them are wrong. Monotonic attention loses some accuracy,
# location-sensitive attention little or none.
#
# The weights show why. All three transcribe a recording of 10 digits, above, and one of 20, below.
# Each row of a panel is a digit written, each column a frame.

# %%
figure, axes = plt.subplots(2, 3, figsize=(8, 5.5), layout="constrained")
for row, length in zip(axes, (10, 20), strict=True):
    frames = read_aloud(rng.integers(0, 10, length), rng)[None]  # (1, S, 16)
    for ax, (name, model) in zip(row, recognizers.items(), strict=True):
        found = transcribe(model, frames, max_length=30)
        written = int(found.lengths[0, 0])
        weights = found.attention[0, 0, :written]  # (T, S)
        ka.visualize.plot_alignment(weights, ax=ax, title=name)
        ax.set(xlabel="frame", ylabel=f"digit of {length}", yticks=range(0, written, 5))
plt.show()

# %% [markdown]
# Location-sensitive and monotonic attention move along the recording at its pace, however long it
# is. Bahdanau's attention does so with 10 digits, if less sharply. With 20 its weights spread over
# many frames, and it writes too few digits. Its score has no access to positions. What
# distinguishes one 7 from another are traces of the position that the recurrent layers leave: the
# encoder in each frame, the decoder in its state. They are learned for at most 10 digits, and mean
# nothing beyond. Chorowski et al. report the same failure in the recognition of phonemes, and
# explain it in this way.
#
# The other two go by the position of the last step, and a step is the same in a long recording.
#
# ## Guided alignment
#
# In the first epochs the recognizers have to discover that the attention follows the diagonal. One
# can tell them so. Tachibana et al. (2018, section 4.1) add a loss that penalizes weights far from
# it:
#
# $$\frac{1}{TS} \sum_{ts} \alpha_{ts} W_{ts}, \qquad
# W_{ts} = 1 - \exp\left( -\frac{(s/S - t/T)^2}{2 g^2} \right)$$
#
# It needs no known alignment: $T$ and $S$, the lengths of each example, come from `cells`. As a
# mean over all cells its values are small, so its weight is large.

# %%
guided = build_recognizer(ka.BahdanauAttention(UNITS))
errors["Bahdanau, guided"] = train(guided, epochs=4, guidance=100.0)

plt.figure(figsize=(7, 3.5), layout="constrained")
for name, error in errors.items():
    plt.plot(range(1, len(error) + 1), 100 * error, marker="o", label=name)
plt.xlabel("epoch of 32 batches")
plt.ylabel("wrong digits in training, %")
plt.ylim(bottom=0)
plt.legend()
plt.show()

# %% [markdown]
# With guidance, Bahdanau's attention is ahead in each of the first epochs. If alignments are known,
# `ka.losses.guided_alignment` trains the weights towards them (Chen et al. 2016). Guidance speeds
# up training only. It adds no position to the score, so it does not help with longer recordings.
#
# ## The result
#
# The baseline is Bahdanau's attention on recordings three times as long as in training.

# %%
longest = {name: found[-1] for name, found in rates.items()}
assert longest["location-sensitive"] < longest["Bahdanau"] / 2
assert longest["monotonic"] < longest["Bahdanau"] / 2
assert errors["Bahdanau, guided"][1] < errors["Bahdanau"][1]

# %% [markdown]
# ## What next
#
# - [Mechanisms](../mechanisms.md#locationsensitiveattention-coverageattention) has more layers that
#   keep track of where they were, such as `ka.GaussianMixtureAttention`.
# - [Monotonic](../mechanisms.md#monotonic) describes the mode "hard", which reads a stream. It
#   needs probabilities near 0 or 1, which so short a training does not reach.
# - [A loss on the weights](../mechanisms.md#a-loss-on-the-weights) lists the losses that an
#   attention can have.
# - [Decoding and search](../decoding-and-search.md) has beam search, which takes the same step.
