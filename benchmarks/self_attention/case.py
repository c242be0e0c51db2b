"""Multi-head self-attention, forward and backward, against Keras's own and fused kernels."""

from benchmarks import bars, compare
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender

_SIZES = {"batch": 1, "heads": 8, "length": 4096, "width": 64}
_PLAIN, _CAUSAL = {"causal": False}, {"causal": True}


def _contenders():
    for jit_compile in (False, True):
        xla = ", XLA" if jit_compile else ""
        for name, peer, environment in (
            ("keras.layers.MultiHeadAttention", "keras.layers", "ours"),
            ("keras_attention", "keras_attention", "ours"),
            ("keras-self-attention", "keras-self-attention", "keras_self_attention"),
        ):
            script = f"{peer.split('.')[0].replace('-', '_')}_worker"
            yield Contender(f"{name}{xla}", peer, script, environment, {"jit_compile": jit_compile})
    yield Contender("torch, scaled_dot_product_attention", "torch", "torch_worker", "torch")


CASE = Case(
    title="Self-attention of 8 heads, forward and backward",
    points=({**_SIZES, **_PLAIN}, {**_SIZES, **_CAUSAL}),
    contenders=tuple(_contenders()),
    unit=("queries", lambda sizes: sizes["batch"] * sizes["length"]),
    compare=compare.with_first(1e-5, gradients=1e-4),
    bars=(
        Bar(
            "times as fast as keras.layers.MultiHeadAttention",
            bars.times_as_fast("keras.layers", _PLAIN),
            at_least=1.1,
        ),
        Bar(
            "share of the extra memory of keras.layers.MultiHeadAttention",
            bars.share_of_memory("keras.layers", _PLAIN),
            at_most=1 / 10,
        ),
        Bar(
            "causal: times as fast as keras.layers.MultiHeadAttention",
            bars.times_as_fast("keras.layers", _CAUSAL),
            at_least=1.7,
        ),
        Bar(
            "times the time of torch's fused kernel",
            bars.times_the_time("torch", _PLAIN),
            at_most=1.6,
        ),
        Bar(
            "causal: times the time of torch's fused kernel",
            bars.times_the_time("torch", _CAUSAL),
            at_most=1.6,
        ),
    ),
    extra_memory=True,
    trial={"heads": 2, "length": 600},  # several blocks, of the width that the products have
)
