"""The layer table: one row or more per public layer, which the conformance suite walks.

Axes are letters for lengths (T query steps, S memory steps) and numbers for widths; the batch is
left out. A new layer is a new row here, with its oracle.
"""

import dataclasses
import inspect
from collections.abc import Callable

import keras
import numpy as np

import keras_attention as ka
from layer_oracles import attention_oracle, bridge_oracle, decoder_oracle, model_oracle

SIZES = {"B": 2, "T": 3, "S": 5}
OTHER_SIZES = {"B": 3, "T": 2, "S": 7}
QUERY, VALUE, KEY, UNITS, CELL, FINAL = 7, 11, 13, 17, 19, 23
IDS = 13

# The loop of every recurrent Keras layer becomes TensorList ops, which LiteRT has in Flex builds
# only. What is raised then says:
LOOP = {"litert": "Select TensorFlow op"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer, with all that the suite must know of it.

    `make(**kwargs)` constructs it. `call(layer, inputs, masks)` returns its outputs in the order
    of `outputs`; `oracle(layer, inputs, masks)` the same in float64, for all masks given. `holds`
    names the public classes that the row stands for. `memory` is the axis that is attended to,
    `weights` the output that says how, and `unweighted` a call that does not ask for it. `zero` are
    the outputs that are exactly 0 at masked query steps, `empty` those that are where nothing may
    be attended. `ids`: the inputs are ids below it, with 0 for padding. `limits` maps a format that
    cannot run the layer to what its runtime then says.
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
    memory: str = "S"
    zero: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
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

    def arrays(self, sizes=None, seed=17, share=0.7):
        """Random inputs and masks; the masks leave at least one position per row."""
        random, sizes = np.random.default_rng(seed), sizes or SIZES
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

    def axes(self, names, letter):
        """The names among `names` that have the axis `letter`, with its index."""
        known = {**self.inputs, **self.masks, **self.outputs}
        return [
            (name, 1 + known[name].index(letter)) for name in names if letter in known.get(name, ())
        ]


def shaped(axes, sizes):
    return (sizes["B"], *(sizes.get(axis, axis) for axis in axes))


def _attention_row(name, holds, make, query=QUERY, value=VALUE, key=None):
    inputs = {"query": ("T", query), "value": ("S", value)}
    masks = {"query_mask": ("T",), "value_mask": ("S",), "attention_mask": ("T", "S")}
    if key:
        inputs["key"], masks["key_mask"] = ("S", key), ("S",)
    return Row(
        name=name,
        holds=holds,
        make=make,
        inputs=inputs,
        outputs={"context": ("T", value), "weights": ("T", "S")},
        oracle=attention_oracle,
        call=lambda layer, tensors, masks: layer(**tensors, **masks, return_attention_scores=True),
        unweighted=lambda layer, tensors, masks: [layer(**tensors, **masks)],
        masks=masks,
        zero=("context", "weights"),
        empty=("context", "weights"),
    )


def _decode_unweighted(layer, tensors, masks):
    silent = type(layer).from_config({**layer.get_config(), "return_attention_scores": False})
    silent(**tensors)
    silent.set_weights(layer.get_weights())
    return keras.tree.flatten(silent(**tensors, **masks))


def _decoder_row(name, holds, make, states, output=CELL):
    return Row(
        name=name,
        holds=holds,
        make=lambda **kwargs: make(return_state=True, return_attention_scores=True, **kwargs),
        inputs={"inputs": ("T", QUERY), "memory": ("S", VALUE)},
        outputs={
            "output": ("T", output),
            "weights": ("T", "S"),
            **{f"state_{i}": (size,) for i, size in enumerate(states)},
        },
        oracle=decoder_oracle,
        call=lambda layer, tensors, masks: keras.tree.flatten(layer(**tensors, **masks)),
        unweighted=_decode_unweighted,
        masks={"inputs_mask": ("T",), "memory_mask": ("S",)},
        zero=("output", "weights"),
        empty=("weights",),
        limits=LOOP,
    )


def _stacked(dtype=None, **unused):
    cells = [keras.layers.GRUCell(FINAL, dtype=dtype), keras.layers.LSTMCell(CELL, dtype=dtype)]
    return keras.layers.StackedRNNCells(cells, dtype=dtype)


def _bahdanau(cell, dtype=None, **kwargs):
    return ka.BahdanauDecoder(cell, ka.BahdanauAttention(UNITS, dtype=dtype), dtype=dtype, **kwargs)


def _luong(cell, score="general", dtype=None, **kwargs):
    return ka.LuongDecoder(cell, ka.LuongAttention(score, dtype=dtype), dtype=dtype, **kwargs)


def _model(dtype=None):
    """An encoder without recurrence keeps the oracle short."""
    layers = keras.layers
    return ka.models.EncoderDecoder(
        keras.Sequential(
            [
                layers.Embedding(IDS, QUERY, mask_zero=True, dtype=dtype),
                layers.Dense(VALUE, activation="tanh", dtype=dtype),
            ]
        ),
        layers.Embedding(IDS, KEY, mask_zero=True, dtype=dtype),
        _bahdanau(layers.GRUCell(CELL, dtype=dtype), dtype=dtype),
        layers.Dense(IDS, dtype=dtype),
        dtype=dtype,
    )


TABLE = [
    _attention_row("dot", (ka.scores.Dot,), lambda **k: ka.Attention("dot", **k), value=QUERY),
    _attention_row(
        "scaled_dot",
        (ka.Attention, ka.scores.ScaledDot, ka.alignments.Softmax),
        lambda **k: ka.Attention(**k),
        key=QUERY,
    ),
    _attention_row(
        "general",
        (ka.scores.General,),
        lambda **k: ka.Attention(ka.scores.General(use_scale=True, **k), **k),
        key=KEY,
    ),
    _attention_row(
        "additive", (ka.scores.Additive,), lambda **k: ka.Attention("additive", **k), key=KEY
    ),
    _attention_row(
        "bahdanau", (ka.BahdanauAttention,), lambda **k: ka.BahdanauAttention(UNITS, **k)
    ),
    _attention_row(
        "bahdanau_normalized",
        (ka.BahdanauAttention,),
        lambda **k: ka.BahdanauAttention(UNITS, normalize=True, **k),
    ),
    _attention_row("luong", (ka.LuongAttention,), lambda **k: ka.LuongAttention(**k)),
    _attention_row(
        "luong_concat", (ka.LuongAttention,), lambda **k: ka.LuongAttention("concat", **k)
    ),
    _decoder_row(
        "bahdanau_decoder_gru",
        (ka.BahdanauDecoder,),
        lambda **k: _bahdanau(keras.layers.GRUCell(CELL, dtype=k.get("dtype")), **k),
        [CELL],
    ),
    _decoder_row(
        "bahdanau_decoder_lstm",
        (ka.BahdanauDecoder,),
        lambda **k: _bahdanau(keras.layers.LSTMCell(CELL, dtype=k.get("dtype")), **k),
        [CELL, CELL],
    ),
    _decoder_row(
        "bahdanau_decoder_stacked",
        (ka.BahdanauDecoder,),
        lambda **k: _bahdanau(_stacked(**k), **k),
        [FINAL, CELL, CELL],
    ),
    _decoder_row(
        "luong_decoder_gru",
        (ka.LuongDecoder,),
        lambda **k: _luong(
            keras.layers.GRUCell(CELL, reset_after=False, dtype=k.get("dtype")),
            attention_layer_size=FINAL,
            **k,
        ),
        [CELL],
        output=FINAL,
    ),
    _decoder_row(
        "luong_decoder_no_layer",
        (ka.LuongDecoder,),
        lambda **k: _luong(keras.layers.SimpleRNNCell(CELL, dtype=k.get("dtype")), **k),
        [CELL],
        output=VALUE,
    ),
    *(
        _decoder_row(
            f"luong_decoder_fused_{name}",
            (ka.LuongDecoder,),
            lambda cell=cell, **k: _luong(
                cell(CELL, dtype=k.get("dtype")),
                attention_layer_size=FINAL,
                input_feeding=False,
                **k,
            ),
            [CELL] * states,
            output=FINAL,
        )
        for name, cell, states in [
            ("gru", keras.layers.GRUCell, 1),
            ("lstm", keras.layers.LSTMCell, 2),
            ("simple_rnn", keras.layers.SimpleRNNCell, 1),
        ]
    ),
    _decoder_row(
        "luong_decoder_unfed_stacked",
        (ka.LuongDecoder,),
        lambda **k: _luong(
            _stacked(**k), "concat", attention_layer_size=FINAL, input_feeding=False, **k
        ),
        [FINAL, CELL, CELL],
        output=FINAL,
    ),
    Row(
        name="bridge",
        holds=(ka.models.Bridge,),
        make=lambda **k: ka.models.Bridge([QUERY, KEY], **k),
        inputs={"memory": ("S", VALUE)},
        outputs={"state_0": (QUERY,), "state_1": (KEY,)},
        oracle=bridge_oracle,
        call=lambda layer, tensors, masks: layer(**tensors, **masks),
        masks={"mask": ("S",)},
        weights=None,
    ),
    Row(
        name="encoder_decoder",
        holds=(ka.models.EncoderDecoder,),
        make=_model,
        inputs={"source": ("S",), "target_in": ("T",)},
        outputs={"logits": ("T", IDS)},
        oracle=model_oracle,
        call=lambda layer, tensors, masks: [layer((tensors["source"], tensors["target_in"]))],
        ids=IDS,
        weights=None,
        limits=LOOP,
    ),
]


def public_layers():
    """Every layer class that the package's public names reach, without those that others extend."""
    found, visited = set(), set()

    def visit(module):
        visited.add(module)
        for name, value in vars(module).items():
            if name.startswith("_") or not _ours(value):
                continue
            if inspect.ismodule(value) and value not in visited:
                visit(value)
            elif inspect.isclass(value) and issubclass(value, keras.layers.Layer):
                found.add(value)

    visit(ka)
    return found - {base for layer in found for base in layer.__mro__[1:]}


def _ours(value):
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    return str(name).startswith("keras_attention")
