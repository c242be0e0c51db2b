"""Additive attention, forward and backward, against Keras's own."""

from benchmarks import bars, compare
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender

_LONG = {"batch": 4, "length": 512, "units": 256}
_SHORT = {"batch": 32, "length": 64, "units": 256}
_LONGEST = {"batch": 1, "length": 4096, "units": 256}


def _fits_keras(sizes):
    return sizes["length"] < 4096  # It would take 17 GB there.


def _contenders():
    for jit_compile in (False, True):
        xla = ", XLA" if jit_compile else ""
        options = {"jit_compile": jit_compile}
        yield Contender(
            f"Dense, Dense, keras.layers.AdditiveAttention{xla}",
            "keras.layers",
            "keras_worker",
            "ours",
            options,
            takes_part=_fits_keras,
        )
        yield Contender(
            f"keras_attention{xla}", "keras_attention", "keras_attention_worker", "ours", options
        )


def _bars():
    each = "each side at the faster of XLA on and off"
    long, short = "B=4, T=S=512", "B=32, T=S=64"
    yield Bar(
        f"{long}: times as fast as keras.layers, {each}",
        bars.times_as_fast("keras.layers", _LONG),
        at_least=2.2,
    )
    yield Bar(
        f"{long}: share of the extra memory of keras.layers",
        bars.share_of_memory("keras.layers", _LONG),
        at_most=1 / 20,
    )
    yield Bar(
        f"{long}: times as fast as keras.layers, both without XLA",
        bars.times_as_fast("keras.layers", _LONG, jit_compile=False),
        at_least=1.2,
    )
    yield Bar(
        f"{short}: times as fast as keras.layers, {each}",
        bars.times_as_fast("keras.layers", _SHORT),
        at_least=2,
    )
    yield Bar(
        "B=1, T=S=4096: extra memory", bars.extra_mib(_LONGEST), at_most=1e9 / 2**20, unit="MiB"
    )


CASE = Case(
    title="Additive attention, forward and backward",
    points=(_LONG, _SHORT, _LONGEST),
    contenders=tuple(_contenders()),
    unit=("queries", lambda sizes: sizes["batch"] * sizes["length"]),
    compare=compare.with_first(1e-5, gradients=1e-4),
    bars=tuple(_bars()),
    extra_memory=True,
    trial={"batch": 1, "length": 150, "units": 64},  # not held at once
)
