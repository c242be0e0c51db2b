"""How time and memory grow with the length, forward and backward.

The cases `self_attention` and `additive`, where the contenders stand, compare their outputs.
"""

from benchmarks.bars import Bar, memory_by_length, memory_exponent
from benchmarks.case import Case, Contender, with_and_without_xla
from benchmarks.cases import additive, self_attention

_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
_SELF = {"batch": 1, "heads": 1, "width": 64, "causal": False}
_FEW, _MANY = 8, 32  # Units of additive attention.
_OURS, _KERAS = "keras_attention", "keras.layers"


def _up_to(longest):
    return lambda sizes: sizes["length"] <= longest


def _self_attention(peer, setup, longest):
    name, takes_part = f"self-attention, {peer}", _up_to(longest)
    return with_and_without_xla(name, peer, setup, options=_SELF, takes_part=takes_part)


def _additive(peer, setup, units, longest):
    name, peer = f"additive, {units} units, {peer}, XLA", f"{peer}, additive, {units}"
    options = {"batch": 1, "units": units, "jit_compile": True}
    return Contender(name, peer, setup, options=options, takes_part=_up_to(longest))


def _longest_extra(points, units):
    return memory_by_length(points, f"{_OURS}, additive, {units}")[-1][1]


_EXPONENT = "self-attention: exponent of extra memory against length, 512 to 16,384"
_ADDITIVE = "additive, length 16,384: extra memory"

CASE = Case(
    title="Attention against length, forward and backward",
    points=[{"length": length} for length in _LENGTHS],
    contenders=[
        *_self_attention(_OURS, self_attention.keras_attention, 16384),
        # Each further doubling takes four times the memory.
        *_self_attention(_KERAS, self_attention.keras_layers, 8192),
        Contender("self-attention, torch", "torch", self_attention.torch_function, "torch", _SELF),
        _additive(_OURS, additive.keras_attention, _FEW, 16384),
        _additive(_OURS, additive.keras_attention, _MANY, 16384),
        _additive(_KERAS, additive.keras_layers, _MANY, 2048),
    ],
    compare=None,
    unit=("queries", lambda sizes: sizes["length"]),
    bars=[
        Bar(_EXPONENT, memory_exponent(_OURS, jit_compile=False), at_most=1.1),
        Bar(
            "self-attention with XLA: the same",
            memory_exponent(_OURS, jit_compile=True),
            at_most=1.1,
        ),
        Bar(
            f"{_ADDITIVE} with {_MANY} units over that with {_FEW}",
            lambda points: _longest_extra(points, _MANY) / _longest_extra(points, _FEW),
            at_most=1.1,
        ),
        Bar(
            f"{_ADDITIVE} over that of the scores; 5 are scores, weights, their gradients and a "
            "transient one",
            lambda points: _longest_extra(points, _MANY) / (4 * _LENGTHS[-1] ** 2),
            at_most=5,
        ),
    ],
    extra_memory=True,
    rounds=1,
    against="length",
    trial={"length": 370},  # In tiles, in every row.
)
