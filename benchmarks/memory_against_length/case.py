"""How time and memory grow with the length, forward and backward.

That the work is the same, the cases from which the scripts come compare.
"""

from benchmarks import bars, compare
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender

_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
_SELF = {"batch": 1, "heads": 1, "width": 64, "causal": False}
_UNITS = (8, 32)


def _up_to(longest):
    return lambda sizes: sizes["length"] <= longest


def _contenders():
    ours = "keras_attention", "keras_attention"
    keras = "keras.layers", "keras"
    for (peer, script), jit_compile, longest in (
        (ours, False, 16384),
        (ours, True, 16384),
        (keras, False, 8192),  # Each further doubling takes four times the memory.
        (keras, True, 8192),
    ):
        yield Contender(
            f"self-attention, {peer}{', XLA' * jit_compile}",
            peer,
            f"self_attention.{script}_worker",
            "ours",
            {**_SELF, "jit_compile": jit_compile},
            _up_to(longest),
        )
    yield Contender("self-attention, torch", "torch", "self_attention.torch_worker", "torch", _SELF)
    for (peer, script), units, longest in (
        (ours, _UNITS[0], 16384),
        (ours, _UNITS[1], 16384),
        (keras, _UNITS[1], 2048),
    ):
        yield Contender(
            f"additive, {units} units, {peer}, XLA",
            f"{peer}, additive, {units}",
            f"additive.{script}_worker",
            "ours",
            {"batch": 1, "units": units, "jit_compile": True},
            _up_to(longest),
        )


def _whatever_units(points):
    few, many = (
        bars.growth(points, f"keras_attention, additive, {units}", "length") for units in _UNITS
    )
    if not points or len(few) < len(points) or len(many) < len(points):
        return None
    return many[-1][1] / few[-1][1]


def _over_scores(points):
    grown = bars.growth(points, f"keras_attention, additive, {_UNITS[1]}", "length")
    if not points or len(grown) < len(points):
        return None
    length, extra = grown[-1]
    return extra / (4 * length * length)


CASE = Case(
    title="Attention against length, forward and backward",
    points=tuple({"length": length} for length in _LENGTHS),
    contenders=tuple(_contenders()),
    unit=("queries", lambda sizes: sizes["length"]),
    compare=compare.nothing,
    bars=(
        Bar(
            "self-attention: exponent of extra memory against length, 512 to 16,384",
            bars.exponent("keras_attention", "length", jit_compile=False),
            at_most=1.1,
        ),
        Bar(
            "self-attention with XLA: the same",
            bars.exponent("keras_attention", "length", jit_compile=True),
            at_most=1.1,
        ),
        Bar(
            f"additive, length 16,384: extra memory with {_UNITS[1]} units over that with "
            f"{_UNITS[0]}",
            _whatever_units,
            at_most=1.1,
        ),
        Bar(
            "additive, length 16,384: extra memory over that of the scores; 5 are scores, weights, "
            "their gradients and a transient one",
            _over_scores,
            at_most=5,
        ),
    ),
    extra_memory=True,
    rounds=1,
    against="length",
    trial={"length": 370},  # not held at once, in any row
)
