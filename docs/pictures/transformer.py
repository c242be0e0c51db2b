"""The picture of the Transformer: its places, and what a block makes of them."""

import keras
import numpy as np
from drawing import panels, plain_map

import keras_attention as ka


def transformer():
    """Waves, how alike the places are, and what a block learns with them and without."""
    figure, axes = panels(4, 2.3, 2.4)
    waves = np.array(ka.SinusoidalPositionEncoding(max_wavelength=200)(np.zeros((1, 60, 32))))[0]
    axes[0].imshow(waves, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    axes[0].set(title="PE", xticks=[], yticks=[], xlabel="features", ylabel="places")
    axes[1].imshow(waves @ waves.T, cmap="gray")
    axes[1].set(title="PE(s) . PE(t)", xticks=[], yticks=[], xlabel="places", ylabel="places")
    for ax, placed in ((axes[2], True), (axes[3], False)):
        weights = reversing(placed)
        plain_map(ax, weights, "with the waves" if placed else "without")
    return figure


def reversing(placed, length=8, letters=7):
    """The weights of a block of one head that was trained to say sequences backwards."""
    keras.utils.set_random_seed(1)
    symbols = np.random.default_rng(1).integers(0, letters, size=(1024, length))
    sequence = keras.Input((length, letters))
    x = keras.layers.Dense(32)(sequence)
    if placed:
        x = ka.SinusoidalPositionEncoding(max_wavelength=100)(x)
    block = ka.TransformerEncoderBlock(num_heads=1, intermediate_dim=64)
    x, weights = block(x, return_attention_scores=True)
    model = keras.Model(sequence, keras.layers.Dense(letters)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.005), loss)
    texts = np.eye(letters, dtype="float32")[symbols]
    model.fit(texts, symbols[:, ::-1], epochs=20, verbose=0)
    return np.array(keras.Model(sequence, weights)(texts[:1]))[0, 0]
