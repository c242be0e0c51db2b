"""What `benchmarks.gpu` runs: our layers, Keras's that do the same work, and what bounds them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np

import keras_attention as ka


@dataclass(frozen=True)
class Problem:
    """A layer to run forward and backward.

    Attributes:
        ours: Makes our layer.
        keras: Makes a layer of Keras's that does the same work, with weights in the same order and
            of the same sizes; None where Keras has none.
        shapes: Of the inputs.
        output: Shape of the output.
        operations: Additions and multiplications that no way to compute it can do without.
        options: Of the call.
    """

    name: str
    ours: Callable
    keras: Callable | None
    shapes: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    operations: float
    options: dict = field(default_factory=dict)

    def bytes(self) -> float:
        """Returns what has to be read and written at least: all that goes in and comes out."""
        counts = [np.prod(shape) for shape in (*self.shapes, self.output)]
        return 4.0 * 2 * float(sum(counts))  # each, and its gradient

    def arrays(self):
        """Returns the inputs, and the draw that the loss multiplies the output with."""
        random = np.random.default_rng(0)
        draws = [random.standard_normal(s).astype("float32") for s in (*self.shapes, self.output)]
        return draws[:-1], draws[-1]


class ProjectedAdditiveAttention(keras.layers.Layer):
    """Keras's AdditiveAttention behind Dense layers, which is Bahdanau's attention."""

    def __init__(self, units):
        super().__init__()
        self.of_query, self.of_key = (keras.layers.Dense(units, use_bias=False) for _ in "qk")
        self.attention = keras.layers.AdditiveAttention()

    def build(self, query_shape, value_shape):
        self.of_query.build(query_shape)
        self.of_key.build(value_shape)
        units = self.of_key.units
        keys = (*value_shape[:2], units)
        self.attention.build([(*query_shape[:2], units), value_shape, keys])

    def call(self, query, value):
        return self.attention([self.of_query(query), value, self.of_key(value)])


class SelfMultiHeadAttention(keras.layers.Layer):
    """Keras's MultiHeadAttention of a sequence to itself."""

    def __init__(self, heads, width):
        super().__init__()
        self.attention = keras.layers.MultiHeadAttention(heads, width, use_bias=False)

    def build(self, query_shape):
        self.attention.build(query_shape, query_shape)

    def call(self, query, use_causal_mask=False):
        return self.attention(query, query, use_causal_mask=use_causal_mask)


def problems(small: bool) -> list[Problem]:
    """Returns all problems, at the sizes of the other benchmarks, or at small ones."""
    additive = [(2, 7, 5)] if small else [(4, 512, 256), (32, 64, 256)]
    heads = (1, 11, 2, 3) if small else (1, 4096, 8, 64)
    return [
        *(_additive(*sizes) for sizes in additive),
        *(_self_attention(*heads, causal) for causal in (False, True)),
        *_decoders(*((2, 3, 5, 4) if small else (64, 20, 20, 256))),
        _spatial(*((2, 3, 7, 5) if small else (32, 20, 196, 512))),
    ]


def _additive(batch, length, units):
    shape = (batch, length, units)
    projections = 3 * 2 * 2 * batch * length * units**2  # forward, and the two gradients
    # A sum, a tanh, a product and a sum forward; backward the tanh's gradient and three sums.
    scores = 10 * batch * length**2 * units
    contexts = 3 * 2 * batch * length**2 * units
    return Problem(
        f"additive, B={batch}, T=S={length}, U={units}",
        lambda: ka.BahdanauAttention(units),
        lambda: ProjectedAdditiveAttention(units),
        (shape, shape),
        shape,
        projections + scores + contexts,
    )


def _self_attention(batch, length, heads, width, causal):
    shape = (batch, length, heads * width)
    projections = 3 * 4 * 2 * batch * length * (heads * width) ** 2
    products = 3 * 2 * 2 * batch * heads * length**2 * width
    return Problem(
        f"self-attention{', causal' * causal}, B={batch}, {heads} heads, T={length}, D={width}",
        lambda: ka.SelfAttention(heads, width, use_bias=False),
        lambda: SelfMultiHeadAttention(heads, width),
        (shape,),
        shape,
        projections + products / (2 if causal else 1),
        {"use_causal_mask": causal},
    )


def _decoders(batch, steps, memory_steps, width):
    shapes = ((batch, steps, width), (batch, memory_steps, 2 * width))
    output = (batch, steps, width)
    keys = 3 * 2 * batch * memory_steps * 2 * width * width
    cell = 3 * 2 * batch * steps * width * 3 * width  # of each width that a GRU reads
    vector = 3 * 2 * batch * steps * 3 * width * width
    contexts = 3 * 2 * batch * steps * memory_steps * 2 * width
    sizes = f"B={batch}, T={steps}, S={memory_steps}, {width} wide"
    cells = keras.layers.GRUCell
    yield Problem(
        f"BahdanauDecoder, {sizes}",
        lambda: ka.BahdanauDecoder(cells(width), ka.BahdanauAttention(width)),
        None,
        shapes,
        output,
        keys + 4 * cell + 3 * 2 * batch * steps * width**2 + contexts,
    )
    for feeding in (True, False):
        yield Problem(
            f"LuongDecoder{'' if feeding else ' without input feeding'}, {sizes}",
            lambda feeding=feeding: ka.LuongDecoder(
                cells(width),
                ka.LuongAttention("general"),
                attention_layer_size=width,
                input_feeding=feeding,
            ),
            None,
            shapes,
            output,
            keys + (3 if feeding else 2) * cell + vector + contexts,
        )


def _spatial(batch, steps, regions, width):
    shapes = ((batch, steps, width), (batch, regions, width))
    products = 3 * 2 * batch * (steps + regions) * width**2
    scores = 10 * batch * steps * regions * width
    contexts = 3 * 2 * batch * steps * regions * width
    return Problem(
        f"SoftSpatialAttention, B={batch}, T={steps}, {regions} regions of {width}",
        lambda: ka.SoftSpatialAttention(width, gate=False),
        None,
        shapes,
        (batch, steps, width),
        products + scores + contexts,
    )
