# %% [markdown]
# # Pointing
#
# A classifier chooses among classes that are fixed before the training. A route chooses among the
# cities of the input, however many there are. A pointer network (Vinyals et al. 2015) can do this,
# because its attention weights are its output. At the end you have a network that finds nearly
# optimal round trips, also of more cities than in training, and shorter ones than the nearest
# neighbor rule. You need to know Keras's functional API and what attention is.

# %%
import itertools

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import ops

import keras_attention as ka

keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)

# %% [markdown]
# ## Tours to learn from
#
# The data are synthetic: cities are random points in a square. A tour visits each city once and
# returns to the first. For up to about 10 cities one can try all tours, and `optimal_tours` does.
# All tours start at city 0, which leaves $(n - 1)!/2$ of them, 2,520 for 8 cities. Every tour has
# two directions. The function returns the counterclockwise one, so that there is one right answer.


# %%
def tour_lengths(cities, tours):  # (B, n, 2), (B, n) -> (B,)
    path = np.take_along_axis(cities, tours[..., None], axis=1)
    return np.linalg.norm(path - np.roll(path, -1, axis=1), axis=-1).sum(axis=1)


def optimal_tours(cities):  # (B, n, 2) -> (B, n)
    n = cities.shape[1]
    rest = itertools.permutations(range(1, n))
    tours = np.array([(0, *order) for order in rest if order[0] < order[-1]])
    legs = tours * n + np.roll(tours, -1, axis=1)  # places in a flat matrix
    distances = np.linalg.norm(cities[:, :, None] - cities[:, None], axis=-1)
    flat = distances.reshape(len(cities), n * n)
    best = tours[[lengths[legs].sum(axis=1).argmin() for lengths in flat]]
    x, y = np.moveaxis(np.take_along_axis(cities, best[..., None], axis=1), 2, 0)
    area = np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1)
    best[area < 0, 1:] = best[area < 0, :0:-1]  # a negative area: clockwise
    return best


# %% [markdown]
# The training data are 20,000 sets of 5 to 8 cities. An example has three inputs: the cities, the
# current city of each step, and the cities that are left then. The target is the next city. All
# sets of a batch have the same size, so that nothing is padded.

# %%
BATCH, SETS = 128, 5000


def examples(n):
    cities = rng.uniform(size=(SETS, n, 2)).astype("float32")  # (B, n, 2)
    tours = optimal_tours(cities)  # (B, n)
    current, following = tours[:, :-1], tours[:, 1:]  # (B, n - 1)
    visited = np.logical_or.accumulate(np.eye(n, dtype=bool)[current], axis=1)
    data = tf.data.Dataset.from_tensor_slices(((cities, current, ~visited), following))
    return data.shuffle(SETS, seed=1).repeat().batch(BATCH)


sizes = [5, 6, 7, 8]
training = tf.data.Dataset.sample_from_datasets([examples(n) for n in sizes], seed=1)

# %% [markdown]
# ## The network
#
# Cities have no order, so the encoder is self-attention without positions. It makes a vector $e_j$
# of each city, which takes the other cities into account. (Vinyals et al. use an LSTM, which reads
# the cities in some order.)
#
# A pointer scores each city for a query $d_i$. A softmax of the scores is the output (section 2.3):
#
# $$u^i_j = v^\top \tanh(W_1 e_j + W_2 d_i), \qquad
# p(C_i \mid C_1, \dots, C_{i-1}) = \mathrm{softmax}(u^i)$$
#
# There is one output for each city, and no weight depends on their number.
#
# In the paper the query is the state of a recurrent decoder. For round trips the current city, the
# first city and the cities that are left are all that matters. So the query here consists of the
# vectors of the first and the current city, and the `attention_mask` removes the visited cities
# from the softmax. Without a recurrence all steps of a tour train in parallel.

# %%
UNITS = 64
encoder = keras.Sequential(
    [
        keras.Input((None, 2)),
        keras.layers.Dense(UNITS),
        ka.TransformerEncoderBlock(num_heads=4, intermediate_dim=2 * UNITS),
        ka.TransformerEncoderBlock(num_heads=4, intermediate_dim=2 * UNITS),
    ]
)
pointer = ka.PointerAttention(2 * UNITS)


def make_query(elements, current):  # (B, S, D), (B, T) -> (B, T, 2 D)
    here = ops.take_along_axis(elements, ops.expand_dims(current, 2), axis=1)
    first = elements[:, :1] + ops.zeros_like(here)
    return ops.concatenate([first, here], axis=-1)


cities = keras.Input((None, 2))
current = keras.Input((None,), dtype="int32")
left = keras.Input((None, None), dtype="bool")
elements = encoder(cities)  # (B, S, 64)
probabilities = pointer(make_query(elements, current), elements, attention_mask=left)
model = keras.Model([cities, current, left], probabilities)  # (B, T, S)

# %% [markdown]
# The output is a distribution over positions, so the loss is the cross-entropy.

# %%
EPOCHS, STEPS = 10, len(sizes) * SETS // BATCH
model.compile(
    keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * STEPS)),
    keras.losses.SparseCategoricalCrossentropy(),
    metrics=["accuracy"],
)
history = model.fit(
    training,
    epochs=EPOCHS,
    steps_per_epoch=STEPS,
    shuffle=False,
    verbose=0,
)
print(f"right choices: {history.history['accuracy'][-1]:.1%}")

# %% [markdown]
# The accuracy is the share of steps that choose the same city as the optimal tour.
#
# ## Search
#
# A search needs a `step`: from the current city to the log-probabilities of the next. Its state
# holds what stays the same during the search: the vectors of the cities, and what the pointer
# prepares of them.
#
# The step has no mask. The rules of a tour are processors, functions that change the
# log-probabilities before each choice. `NoRepeatNGram(1)` forbids the cities that the tour already
# has, and `SuppressTokens([0])` forbids city 0, where the search starts. After them `renormalize`
# makes the probabilities of the other cities sum to 1, as in training. With `end_id=None` every
# sequence has `max_length` tokens.


# %%
def step(current, state):
    query = make_query(state["elements"], current[:, None])[:, 0]  # (N, 128)
    found = pointer.step(query, state["prepared"])  # (N, S)
    return ops.log(found + 1e-30), found, state


def renormalize(logits, tokens, time):
    return ops.log_softmax(logits)


rules = [ka.processors.NoRepeatNGram(1), ka.processors.SuppressTokens([0]), renormalize]


def find_tours(cities, beam_width):  # -> (B, K, n), the most probable first
    elements = encoder(cities)
    state = {"elements": elements, "prepared": pointer.prepare(elements)}
    steps = cities.shape[1] - 1
    found = ka.search.beam(step, state, 0, None, steps, beam_width, processors=rules)
    return np.pad(found.tokens, [(0, 0), (0, 0), (1, 0)])


# %% [markdown]
# A beam search returns several tours, the most probable first. The most probable tour need not be
# the shortest, and the length of a tour is known. So `shortest` takes the shortest one of the beam.
#
# The baseline goes to the nearest city that is left.


# %%
def shortest(cities, tours):  # (B, n, 2), (B, K, n) -> (B, n)
    lengths = [tour_lengths(cities, tours[:, k]) for k in range(tours.shape[1])]
    return tours[np.arange(len(tours)), np.argmin(lengths, axis=0)]


def nearest_neighbor_tours(cities):
    distances = np.linalg.norm(cities[:, :, None] - cities[:, None], axis=-1)
    rows, tours = np.arange(len(cities)), np.zeros(cities.shape[:2], int)
    for step in range(1, cities.shape[1]):
        distances[rows, :, tours[:, step - 1]] = np.inf  # nobody goes there again
        tours[:, step] = distances[rows, tours[:, step - 1]].argmin(axis=1)
    return tours


# %% [markdown]
# ## More cities than in training
#
# The test measures the mean length of 100 tours of 8 cities, as in training, and of more. For up to
# 10 cities it includes the optimum. The cities in the order of the input are a random tour.

# %%
means, tests = {}, {}
for n in (8, 10, 12, 15, 20):
    tests[n] = rng.uniform(size=(100, n, 2)).astype("float32")
    tours = {
        "any order": np.tile(np.arange(n), (100, 1)),
        "nearest neighbor": nearest_neighbor_tours(tests[n]),
        "greedy": find_tours(tests[n], beam_width=1)[:, 0],
        "best of 8": shortest(tests[n], find_tours(tests[n], beam_width=8)),
    }
    if n <= 10:
        tours["optimal"] = optimal_tours(tests[n])
    means[n] = {name: tour_lengths(tests[n], t).mean() for name, t in tours.items()}
    print(n, "cities:", *(f"{name} {mean:.2f}  " for name, mean in means[n].items()))

# %% [markdown]
# The greedy tours are the ones to compare with the nearest neighbor: one tour for each set of
# cities. At 8 cities they are about one percent longer than the optimum, those of the nearest
# neighbor about eight percent. At 10, 12 and 15 cities, sizes that the network has never seen, its
# tours are still the shorter ones. At 20 they are not: the network extrapolates, but not to any
# size. The best of 8 stays close to the optimum where that is known.
#
# These are three tours of the same 10 cities. The square is city 0.

# %%
places = tests[10][:1]
tours = {
    "nearest neighbor": nearest_neighbor_tours(places),
    "pointer network": shortest(places, find_tours(places, beam_width=8)),
    "optimal": optimal_tours(places),
}
figure, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
for ax, (name, tour) in zip(axes, tours.items(), strict=True):
    x, y = places[0, np.append(tour[0], 0)].T
    ax.plot(x, y, marker="o")
    ax.plot(*places[0, 0], "s", color="black", markersize=9)
    ax.set_title(f"{name}: {tour_lengths(places, tour)[0]:.2f}")
    ax.set(xlabel="x", ylabel="y", xlim=(0, 1), ylim=(0, 1), aspect="equal")
plt.show()

# %% [markdown]
# The network beats the nearest neighbor at 10 cities, two more than in training, and stays close to
# the optimum.

# %%
eight, ten = means[8], means[10]
assert eight["greedy"] < 1.03 * eight["optimal"]
assert ten["greedy"] < 1.06 * ten["optimal"] < ten["nearest neighbor"]

# %% [markdown]
# ## What next
#
# - [PointerAttention](../mechanisms.md#pointerattention) describes the layer; `PointerGenerator`,
#   next to it, copies words.
# - [What a search may say](../decoding-and-search.md#what-a-search-may-say) lists the processors.
# - [Getting started](../getting-started.md) has `make sort`, a pointer network with a recurrent
#   decoder.
