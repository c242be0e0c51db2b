"""The row of the layer table: one layer, with all that the conformance suite must know of it.

Axes are letters for lengths (T query steps, S memory steps, H and W the sides of a map) and numbers
for widths; the batch is left out.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable

import keras
import numpy as np

SIZES = {"B": 2, "T": 3, "S": 5, "H": 2, "W": 3}
OTHER_SIZES = {"B": 3, "T": 2, "S": 7, "H": 3, "W": 2}
SMALLEST_SIZES = dict.fromkeys(SIZES, 1)
QUERY, VALUE, KEY, UNITS, CELL, FINAL = 7, 11, 13, 17, 19, 23

# The loop of every recurrent Keras layer becomes TensorList ops, which LiteRT has in Flex builds
# only. What is raised then says:
LOOP = {"litert": "Select TensorFlow op"}
# What Keras says of empty batches, and of sequences without a step, that its own layers refuse:
EMPTY_LSTM = {"empty": "LSTMCell.call"}
EMPTY_RNN = {"empty": "RNN.call"}
EMPTY_LSTM_RNN = {"empty": "LSTMCell.call|RNN.call"}
EMPTY_CONVOLUTION = {"empty": "Conv1D.call"}
EMPTY_FILTERS = {"empty": "An input has width"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer, with all that the suite must know of it.

    `make(**kwargs)` constructs it. `call(layer, inputs, masks)` returns its outputs in the order
    of `outputs`; `oracle(layer, inputs, masks)` the same in float64, for all masks given. `holds`
    names the public classes that the row stands for. `memory` is the axis that is attended to,
    `weights` the output that says how (None: there is none, or masks of it are tested elsewhere),
    `normalized` whether they sum to 1, and `unweighted` a call that does not ask for them, if there
    is one. `zero` are the outputs that are exactly 0 at masked query steps, `empty` those that are
    where nothing may be attended. `ids`: the inputs are ids below it, with 0 for padding.
    `unlearned` are the weights that no gradient reaches, `estimated` those that one reaches in
    training only, where it is estimated from draws. `draws`: training draws, so that no two
    runs of it are equal where the backend's compiler draws differently. `seed` draws the arrays: of
    ids, one that leaves enough to attend to for every weight to learn. `limits` maps a check that
    Keras or a format cannot run to what is then said.
    """

    name: str
    holds: tuple[type, ...]
    make: Callable
    inputs: dict[str, tuple]
    outputs: dict[str, tuple]
    oracle: Callable
    call: Callable
    unweighted: Callable | None = None
    masks: dict[str, tuple] = dataclasses.field(default_factory=dict)
    ids: int | None = None
    weights: str | None = "weights"
    normalized: bool = True
    memory: str = "S"
    zero: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    unlearned: tuple[str, ...] = ()
    estimated: tuple[str, ...] = ()
    draws: bool = False
    seed: int = 17
    limits: dict[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self):
        return self.name

    def new(self, dtype=None, **sizes):
        """The layer, built and with random weights: zero biases would hide what they do."""
        keras.utils.set_random_seed(11)
        layer = self.make() if dtype is None else self.make(dtype=dtype)
        inputs, masks = self.arrays({**SIZES, **sizes})
        self.call(layer, inputs, masks)
        random = np.random.default_rng(13)
        for variable in layer.trainable_variables:
            # For dtypes that NumPy does not know, Keras converts.
            variable.assign(random.normal(scale=0.4, size=variable.shape).astype("float32"))
        return layer

    def arrays(self, sizes=None, seed=None, share=0.7):
        """Random inputs and masks; the masks leave at least one position per row."""
        random = np.random.default_rng(self.seed if seed is None else seed)
        sizes = sizes or SIZES
        inputs, masks = {}, {}
        for name, axes in self.inputs.items():
            shape = shaped(axes, sizes)
            if self.ids:
                ids = random.integers(1, self.ids, size=shape).astype("int32")
                # A memory may be all padding, a target holds at least its start.
                length = random.integers(axes != (self.memory,), shape[1] + 1, size=(shape[0], 1))
                inputs[name] = np.where(np.arange(shape[1]) < length, ids, 0)
            else:
                inputs[name] = random.normal(size=shape).astype("float32")
        for name, axes in self.masks.items():
            mask = random.uniform(size=shaped(axes, sizes)) < share
            mask[..., 0] = True
            masks[name] = mask
        return inputs, masks

    def functional(self, layer, projected=False):
        """A functional model with unknown lengths whose inputs are the layer's tensors and masks.

        With `projected`, float inputs pass a linear layer first, so that training needs gradients
        of the inputs too.
        """
        tensors, masks = {}, {}
        for name, axes in self.inputs.items():
            shape = [None if isinstance(axis, str) else axis for axis in axes]
            tensors[name] = keras.Input(shape, name=name, dtype="int32" if self.ids else "float32")
        for name, axes in self.masks.items():
            masks[name] = keras.Input([None] * len(axes), name=name, dtype="bool")
        inputs = {**tensors, **masks}
        if projected and not self.ids:
            tensors = {n: keras.layers.Dense(x.shape[-1])(x) for n, x in tensors.items()}
        outputs = zip(self.outputs, self.call(layer, tensors, masks), strict=True)
        # An identity names the output; two outputs of one layer share its name otherwise.
        options = {"dtype": layer.dtype_policy.name}
        named = [keras.layers.Identity(name=name, **options)(output) for name, output in outputs]
        return keras.Model(inputs, named)

    @functools.cached_property
    def has_query(self):
        """Whether the layer itself is called with queries over a memory."""
        named = {"query", "value"} <= set(inspect.signature(self.make().call).parameters)
        return named and {"query", "value"} <= set(self.inputs)

    def without_steps(self):
        """The row of the same layer that is called with a single query, without the axis T."""

        def only(named):
            return {n: tuple(a for a in axes if a != "T") for n, axes in named.items()}

        def oracle(layer, inputs, masks):
            # In inputs and masks T is the first axis after the batch.
            given = {n for n, axes in {**self.inputs, **self.masks}.items() if axes[0] == "T"}
            inputs, masks = (
                {n: x[:, None] if n in given else x for n, x in arrays.items()}
                for arrays in (inputs, masks)
            )
            results = self.oracle(layer, inputs, masks)
            axes = [axes.index("T") + 1 for axes in self.outputs.values()]
            return [x.squeeze(axis) for x, axis in zip(results, axes, strict=True)]

        parts = {part: only(getattr(self, part)) for part in ("inputs", "outputs", "masks")}
        return dataclasses.replace(self, oracle=oracle, **parts)

    def axes(self, names, letter):
        """The names among `names` with an axis `letter`, and the index of each such axis."""
        known = {**self.inputs, **self.masks, **self.outputs}
        return [
            (name, 1 + index)
            for name in names
            for index, axis in enumerate(known.get(name, ()))
            if axis == letter
        ]


def shaped(axes, sizes):
    return (sizes["B"], *(sizes.get(axis, axis) for axis in axes))
