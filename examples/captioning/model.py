"""The captioner's network: pictures to a feature map, and an LSTM that attends to it."""

from typing import final

import keras
from keras import ops

import keras_attention as ka
from examples.captioning import distractors, encoders
from examples.captioning.config import Config
from examples.captioning.patch_dropout import PatchDropout
from examples.common.special import END, PAD, SPECIAL

CONTEXT = 8  # channels


def build(config: Config, vocabulary_size: int, source_shape: tuple) -> "Captioner":
    """A `Captioner` of pixels (H, W, 3), or of a frozen encoder's features, not trained yet."""
    cell = keras.layers.LSTMCell(config.units, dropout=config.dropout)
    head = keras.Sequential(
        [keras.layers.Dropout(config.dropout), keras.layers.Dense(vocabulary_size)]
    )
    head.supports_masking = True  # Its layers do; Keras warns otherwise.
    network = ka.models.EncoderDecoder(
        _encoder(config, source_shape),
        keras.layers.Embedding(vocabulary_size, config.embedding, mask_zero=True),
        ka.LuongDecoder(
            cell,
            _attention(config),
            # It attends after it has read the last word, and all steps of training attend at once.
            input_feeding=False,
            readout=ka.DeepOutput(config.units, pieces=1),
        ),
        head,
    )
    model = Captioner(network, config)
    model.build([(None, *source_shape), (None, None)])
    return model


def _attention(config: Config):
    units, seed = config.attention_units, config.seed
    if config.attention != "hard":
        return ka.SoftSpatialAttention(units)
    alignment = {"reinforce": ka.alignments.Hard, "straight_through": ka.alignments.StraightThrough}
    return ka.HardSpatialAttention(units, alignment=alignment[config.estimator](seed=seed))


def _encoder(config: Config, source_shape: tuple) -> keras.Model:
    """From pixels or features to a map (H, W, C); without attention to its mean, (1, 1, C)."""
    layers = keras.layers
    source = keras.Input(source_shape, name="source")
    if config.encoder == "cnn":
        features = _cnn(source, config.channels)
    else:
        pixels = config.train_encoder > 0
        features = encoders.pretrained(config)(source) if pixels else source
        features = _project(PatchDropout(config.patch_dropout, config.seed)(features), config)
    if config.attention == "none":
        features = layers.GlobalAveragePooling2D(keepdims=True)(features)
    return keras.Model(source, features, name="encoder")


def _project(features, config: Config):
    """A frozen encoder's map in fewer channels; each position keeps only what it knows itself."""
    layers = keras.layers
    # Its two maps differ in scale. A scale and an offset here would add nothing to the dense layer,
    # and would take a gradient for every feature.
    scaled = layers.BatchNormalization(momentum=0.9, center=False, scale=False)(features)
    local = layers.Dense(config.channels, activation="relu")(scaled)
    # The same channels at all positions: the mean would average independent noise away.
    return layers.SpatialDropout2D(config.dropout)(local)


def _cnn(pixels, channels: int):
    """A position for each 8 x 8 pixels, and a few channels for its surroundings.

    The receptive field is 23 pixels wide, about one object. Counts and relations need a wider one.
    It has few channels, because with the names of the objects nearby in it attention could be
    anywhere.
    """
    layers = keras.layers
    local = layers.Rescaling(1 / 127.5, -1)(pixels)
    for filters, strides in ((32, 2), (64, 2), (64, 1)):
        local = _convolution(local, filters, strides=strides)
    # With stride 2, "same" pads at the end: two such layers have shifted each receptive field to
    # the lower right. Padding at the beginning shifts it back.
    local = layers.ZeroPadding2D(((1, 0), (1, 0)))(local)
    local = _convolution(local, 128, strides=2, padding="valid")
    local = layers.Dense(channels, activation="relu")(Coordinates()(local))
    context = _convolution(local, 64, dilation_rate=2)
    context = layers.Add()([context, _convolution(context, 64, dilation_rate=4)])
    return layers.Concatenate()([local, layers.Dense(CONTEXT, activation="tanh")(context)])


def _convolution(features, filters: int, padding="same", **options):
    convolution = keras.layers.Conv2D(filters, 3, padding=padding, use_bias=False, **options)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(convolution(features)))


@final
@keras.saving.register_keras_serializable("captioning")
class Coordinates(keras.layers.Layer):
    """Concatenates to each position of a map its coordinates (down, right), from -1 to 1.

    Reference: Liu et al. 2018, "An Intriguing Failing of Convolutional Neural Networks and the
    CoordConv Solution", arXiv:1807.03247.
    """

    def call(self, features):
        shape = ops.shape(features)[:3]
        down, right = (ops.linspace(-1.0, 1.0, size) for size in shape[1:])
        grid = ops.stack(ops.meshgrid(down, right, indexing="ij"), axis=-1)  # (H, W, 2)
        grid = ops.broadcast_to(ops.cast(grid, features.dtype)[None], (*shape, 2))
        return ops.concatenate([features, grid], axis=-1)

    def compute_output_shape(self, features_shape):
        return (*features_shape[:-1], features_shape[-1] + 2)


@final
class Captioner(keras.Model):
    """An `EncoderDecoder` whose loss depends on its attention too.

        L = -log p(y | x) + lambda sum_i (1 - sum_t alpha_ti)^2               (Xu 2015, eq. 14)

    per word of the batch. With REINFORCE, `ka.losses.reinforce` is added; with distractors, their
    weight times the share of attention that is on the other picture, in a second pass over mixed
    maps. A sample weight is the advantage of a sampled caption, by which its -log p is multiplied,
    see `self_critical`.

    Attributes:
        prepare: A function of each batch, to what the model is trained on.
    """

    def __init__(self, network: ka.models.EncoderDecoder, config: Config):
        super().__init__()
        self.network = network
        self.config = config
        self.prepare = lambda data: data
        attends = config.attention != "none"
        samples = attends and isinstance(network.decoder.attention.alignment, ka.alignments.Hard)
        self.reinforced = samples and not config.self_critical
        self.distracted = attends and not config.self_critical and config.distractors > 0
        self.nll = keras.metrics.Mean(
            "nll"
        )  # per word: the loss with REINFORCE is no measure of quality
        if config.self_critical:
            self.reward = keras.metrics.Mean("reward")
            self.seed_generator = keras.random.SeedGenerator(config.seed)
        if self.distracted:
            self.distraction = keras.metrics.Mean("distraction")
        if self.reinforced:
            # One for each width of a batch, as longer captions are less likely; NaN: not known yet.
            self.baseline = self.add_weight(
                name="baseline",
                shape=(config.max_length + 2,),
                initializer=keras.initializers.Constant(float("nan")),
                trainable=False,
                aggregation="mean",  # over the devices of a distribution strategy
            )

    def build(self, input_shape):
        self.network.build(input_shape)

    def call(self, inputs, training=None):
        # No dropout, as none was applied when the captions were sampled: only over samples of the
        # same model does the gradient of log p average to zero, so that the baseline adds no bias.
        training = training and not self.config.self_critical
        network, (source, target_in) = self.network, inputs
        maps = network.encoder(source, training=training)
        words = network.target_embedding(target_in)

        def decode(maps):
            state = network.bridge(maps)
            return network.decoder.decode(words, maps, initial_state=state, training=training)

        hidden, weights, state = decode(maps)
        logits = network.head(hidden, training=training)
        outputs = {"logits": logits, "weights": weights, "attention": state["attention"]}
        if self.distracted and training:
            outputs["distraction"] = distractors.share_of_others(decode(distractors.mix(maps))[1])
        return outputs

    def train_step(self, data):
        return super().train_step(self.prepare(data))

    def test_step(self, data):
        return super().test_step(self.prepare(data))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        written = ops.not_equal(y, PAD)  # (B, T)
        logits, advantage = y_pred["logits"], 1.0
        if sample_weight is not None:
            logits, advantage = of_captions(logits), sample_weight
        log_probs = ops.log_softmax(logits, axis=-1)
        log_probs = ops.take_along_axis(log_probs, y[:, :, None], axis=-1)[:, :, 0]
        log_likelihood = ops.sum(ops.where(written, log_probs, 0.0), axis=1)  # (B,)
        counted = ops.any(written, axis=1)  # not the rows that fill up a batch
        loss, words = -advantage * log_likelihood, ops.sum(ops.cast(written, log_likelihood.dtype))
        self.nll.update_state(-ops.sum(log_likelihood) / words, words)
        weights = y_pred["weights"]
        if self.distracted and training:
            other = ops.sum(ops.where(written, y_pred["distraction"], 0.0), axis=1)  # (B,)
            self.distraction.update_state(ops.sum(other) / words, words)
            loss = loss + self.config.distractors * other
        if self.config.doubly_stochastic:
            spread = ka.losses.doubly_stochastic(weights, written)
            loss = loss + self.config.doubly_stochastic * ops.where(counted, spread, 0.0)
        if self.reinforced and training:
            mean = ops.sum(log_likelihood) / ops.sum(ops.cast(counted, log_likelihood.dtype))
            known = ops.where(ops.isnan(self.baseline), mean, self.baseline)
            current = ops.arange(known.shape[0]) == ops.shape(y)[1]
            baseline = ops.sum(ops.where(current, known, 0.0))
            loss = loss + ka.losses.reinforce(
                log_likelihood,
                **y_pred["attention"],
                baseline=baseline,
                reward_weight=self.config.reward,
                entropy_weight=self.config.entropy,
            )
            updated = ka.losses.moving_average(baseline, mean)
            self.baseline.assign(ops.where(current, updated, self.baseline))
        return ops.sum(loss) / words

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["logits"], ops.not_equal(y, PAD))


def of_captions(logits):
    """Logits for a search: [PAD], [UNK] and [START] are impossible."""
    ids = ops.arange(logits.shape[-1])
    return ops.where(ops.logical_and(ids < len(SPECIAL), ids != END), -float("inf"), logits)
