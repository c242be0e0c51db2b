"""Pictures of layers at the work that they are for."""

import keras
import numpy as np
from drawing import BLUE, ORANGE, assign, panels, plain_map
from matplotlib import pyplot as plt

import keras_attention as ka
from keras_attention.ntm import addressing as ntm


def history():
    """What content alone cannot do: move along a memory that repeats itself, and not look twice."""
    figure, axes = panels(4, 2.3, 2.5)
    letters = list("ABABABAB")
    memory = np.array([[[letter == "A", letter == "B", 0] for letter in letters]], "float32")
    query = memory.copy()
    memory[0, 0, 2] = 1  # the begin, which the first query asks for
    query[0, 0] = [0, 0, 1]
    # What is not asked for is far down in the tanh, where nothing of the memory shows.
    content = {"query_kernel": -9 * (1 - np.eye(3)), "key_kernel": 3 * np.eye(3)}

    plain = ka.BahdanauAttention(3)
    plain(query, memory)
    assign(plain.score, **content, score_vector=[4, 4, 8])
    moving = ka.LocationSensitiveAttention(4, filters=1, kernel_size=3)
    moving(query, memory)
    assign(
        moving,
        **{name: np.pad(kernel, [(0, 0), (0, 1)]) for name, kernel in content.items()},
        location_filters=[[[1]], [[0]], [[0]]],  # the weight of the position before
        location_kernel=[[0, 0, 0, 3]],
        score_vector=[4, 4, 8, 8],
    )
    for ax, layer in ((axes[0], plain), (axes[1], moving)):
        weights = layer(query, memory, return_attention_scores=True)[1]
        ka.visualize.plot_alignment(weights[0], letters, ["begin", *letters[1:]], ax=ax)
        ax.tick_params(axis="x", rotation=0)
        ax.set_xlabel(type(layer).__name__)

    words = ["a", "storm", "hit", "the", "coast", "hard"]
    told = np.array([[[0.0], [0.8], [0.4], [-0.1], [0.6], [0.2]]], "float32")
    query = np.zeros((1, 4, 1), "float32")
    for ax, repelled in ((axes[2], 0.0), (axes[3], -3.0)):
        attention = ka.CoverageAttention(1)
        attention(query, told)
        assign(attention, key_kernel=[[1.0]], coverage_vector=[repelled], score_vector=[16.0])
        weights = attention(query, told, return_attention_scores=True)[1]
        ka.visualize.plot_alignment(weights[0], words, ["1", "2", "3", "4"], ax=ax)
        ax.set_xlabel("CoverageAttention" if repelled else "the same, without coverage")
    return figure


def pointers():
    """Sorting by pointing, and a word that the vocabulary lacks."""
    figure, axes = plt.subplots(1, 3, figsize=(9.2, 2.7), width_ratios=[1.3, 1, 1.2])
    numbers = np.array([43, 7, 91, 68, 15, 52, 80, 29])
    value = np.stack([numbers / 100, np.ones(8)], axis=1)[None].astype("float32")
    query = np.stack([np.sort(numbers) / 100, np.ones(8)], axis=1)[None].astype("float32")
    pointer = ka.PointerAttention(2)
    pointer(query, value)
    # tanh(x + 1) + tanh(1 - x) is highest at x = 0, where element and query agree.
    assign(
        pointer.score,
        query_kernel=[[-25, 25], [0.5, 0.5]],
        key_kernel=[[25, -25], [0.5, 0.5]],
        score_vector=[8, 8],
    )
    ka.visualize.plot_alignment(pointer(query, value)[0], numbers, np.sort(numbers), ax=axes[0])
    axes[0].set_xlabel("PointerAttention: sorted")

    source = ["Basel", "won", "the", "cup"]
    words = ["the", "a", "won", "beat", "cup", "[Basel]"]
    source_ids = np.array([[5, 2, 0, 4]])
    vocabulary = np.array([[[0.25, 0.2, 0.3, 0.15, 0.1]]], "float32")
    weights = np.array([[[0.7, 0.15, 0.05, 0.1]]], "float32")
    mixture = ka.PointerGenerator(extra_ids=1)
    features = [np.zeros((1, 1, 1), "float32")] * 3
    mixed = np.array(mixture(vocabulary, weights, source_ids, *features))[0, 0]  # p_gen is 1/2
    axes[1].barh(source, weights[0, 0], color=ORANGE)
    axes[1].set_xlabel("attention over the source")
    written = np.append(vocabulary[0, 0], 0) / 2
    axes[2].barh(words, written, color=BLUE, label="written")
    axes[2].barh(words, mixed - written, left=written, color=ORANGE, label="copied")
    axes[2].legend(frameon=False)
    axes[2].set_xlabel("PointerGenerator, p_gen = 1/2")
    for ax in axes[1:]:
        ax.invert_yaxis()
        ax.set_xlim(0, 0.75)
    return figure


def self_attention():
    """Which steps a step sees."""
    x = np.random.default_rng(2).normal(size=(1, 14, 8)).astype("float32")
    figure, axes = panels(4, 2.3, 2.4)
    for ax, title, window, causal in (
        (axes[0], "SelfAttention", None, False),
        (axes[1], "use_causal_mask=True", None, True),
        (axes[2], "window=2", 2, False),
    ):
        attention = ka.SelfAttention(num_heads=1, key_dim=8, window=window)
        options = {"use_causal_mask": causal, "return_attention_scores": True}
        attention(x, **options)
        assign(attention, query_kernel=np.eye(8), key_kernel=np.eye(8))
        plain_map(ax, attention(x, **options)[1][0, 0], title)
    keras.utils.set_random_seed(3)
    reader = ka.IntraAttention(8)
    reader(x)
    assign(reader, score_vector=8 * keras.ops.convert_to_numpy(reader.score_vector))
    assign(reader, input_kernel=2 * keras.ops.convert_to_numpy(reader.input_kernel))
    plain_map(axes[3], reader(x, return_attention_scores=True)[1][0], "IntraAttention")
    return figure


NOUNS = ["plot", "end", "music", "cast", "story"]
PRAISE, BLAME = ["superb", "lovely", "great", "fine"], ["dull", "weak", "awful", "bad"]
SHOWN = ["the plot was dull and the end was weak", "superb music in a lovely story"]


def reviews(count):
    """Reviews and whether they praise, which their nouns do not tell."""
    random = np.random.default_rng(4)
    for i in range(count):
        one, other = random.choice(NOUNS, 2, replace=False)
        this, that = random.choice(PRAISE if i % 2 else BLAME, 2, replace=False)
        if i % 4 < 2:
            yield f"the {one} was {this} and the {other} was {that}", i % 2
        else:
            yield f"{this} {one} in a {that} {other}", i % 2


def pooling():
    """Which words a small classifier of reviews attends to."""
    texts, labels = zip(*reviews(200), strict=True)
    words = sorted({word for text in texts for word in text.split()})

    def ids_of(texts):
        rows = [[1 + words.index(word) for word in text.split()] for text in texts]
        return np.array([row + [0] * (9 - len(row)) for row in rows], "int32")

    def trained(layer):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((None,), dtype="int32")
        embedded = keras.layers.Embedding(1 + len(words), 8, mask_zero=True)(inputs)
        pooled, weights = layer(embedded, return_attention_scores=True)
        if len(pooled.shape) == 3:  # A hop that may be left alone learns to say something.
            pooled = keras.layers.Dropout(0.5, noise_shape=(None, pooled.shape[1], 1))(pooled)
        logits = keras.layers.Dense(1)(keras.layers.Flatten()(pooled))
        model = keras.Model(inputs, logits)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.AdamW(0.03, weight_decay=0.01), loss)
        model.fit(ids_of(texts), np.array(labels, "float32"), epochs=15, verbose=0)
        return keras.Model(inputs, weights)

    figure, axes = plt.subplots(2, 2, figsize=(8.6, 2.4), width_ratios=[9, 6], height_ratios=[1, 2])
    models = {
        "AttentionPooling": trained(ka.AttentionPooling(8)),
        "StructuredSelfAttention": trained(ka.StructuredSelfAttention(8, hops=2, penalty=0.05)),
    }
    for row, (name, model) in zip(axes, models.items(), strict=True):
        for ax, review in zip(row, SHOWN, strict=True):
            tokens = review.split()
            weights = np.array(model(ids_of([review])))[0].reshape(-1, 9)
            ax.imshow(weights[:, : len(tokens)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            ax.set_xticks(range(len(tokens)), tokens)
            ax.set_yticks(range(len(weights)), [] if len(weights) == 1 else ["hop 1", "hop 2"])
        row[0].set_title(name, loc="left")
    return figure


def images():
    """A picture of three colours, asked for one of them."""
    side = 14
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1)
    colours = {"red": (3, 3), "green": (10, 4), "blue": (6, 10)}
    picture = np.full((side, side, 3), 0.15, "float32")
    for channel, centre in enumerate(colours.values()):
        near = np.exp(-((places - np.array(centre)) ** 2).sum(axis=-1) / 5)
        picture[:, :, channel] += 0.85 * near.astype("float32")
    picture[9:12, 11:13, 0] = 0.9  # another red one
    figure, axes = panels(4, 2.2, 2.3)
    axes[0].imshow(picture.clip(0, 1))
    axes[0].set_title("picture")
    query = np.array([[1.0, 0.0, 0.0]], "float32")
    for ax, layer in (
        (axes[1], ka.SoftSpatialAttention(3, gate=False)),
        (axes[2], ka.HardSpatialAttention(3, gate=False)),
    ):
        layer(query, picture[None])
        assign(
            layer.score,
            query_kernel=-4 * (1 - np.eye(3)) + 0.5 * np.eye(3),
            key_kernel=2 * np.eye(3),
            score_vector=[4.0, 4.0, 4.0],
        )
        _, weights = layer(query, picture[None], return_attention_scores=True)
        ax.imshow(np.array(weights)[0], cmap="gray")
        ax.set_title(type(layer).__name__)
        ax.set_xlabel('query: "red"')
    attention = ka.SelfAttention2D(reduction=1)
    attention(picture[None])
    assign(attention, f_kernel=2 * np.eye(3), g_kernel=2 * np.eye(3))
    _, weights = attention(picture[None], return_attention_scores=True)
    row, column = 3, 3
    axes[3].imshow(np.array(weights)[0, row, column], cmap="gray")
    axes[3].plot(column, row, "x", color=ORANGE)
    axes[3].set(title="SelfAttention2D", xlabel="where position x attends")
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure


def addressing():
    """How a head of a Neural Turing Machine finds a content, and reads what stands after it."""
    locations, width = 12, 6
    # As they are, the rows differ, and so do the cosines; the head searches the row at 6.
    memory = np.random.default_rng(5).normal(size=(1, locations, width)).astype("float32")
    score = ka.scores.Cosine()
    score.build((1, 1, width), memory.shape)
    assign(score, strength_bias=5)
    content = keras.ops.softmax(score(memory[:, 6:7], score.prepare(memory)))
    before = np.eye(locations, dtype="float32")[None, 2:3]
    gated = ntm.interpolate(content, before, np.full((1, 1, 1), 0.8, "float32"))
    shifted = ntm.shift(gated, np.array([[[0.0, 0.1, 0.9]]], "float32"))
    sharp = ntm.sharpen(shifted, np.full((1, 1, 1), 4, "float32"))
    figure, axes = plt.subplots(1, 5, figsize=(9.2, 1.8), sharey=True)
    for ax, (title, weights) in zip(
        axes,
        {
            "where it was": before,
            "content": content,
            "gate: 0.8": gated,
            "shift: mostly by 1": shifted,
            "sharpened: power 4": sharp,
        }.items(),
        strict=True,
    ):
        ax.bar(range(locations), np.array(weights)[0, 0], color=BLUE)
        ax.set_title(title)
        ax.set_xlabel("location")
    axes[0].set(ylim=(0, 1), ylabel="weight")
    return figure
