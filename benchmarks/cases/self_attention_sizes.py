"""Self-attention at the sizes of usual batches: causal, and with padding.

The equations and the contenders are those of the case `self_attention`. Each is compared with its
like, since many train without XLA.
"""

from benchmarks.bars import Bar, least_speedup
from benchmarks.case import Case, Contender, with_and_without_xla
from benchmarks.cases import self_attention
from benchmarks.padding import compare_without_padding

_HEADS = {"heads": 8, "width": 64, "causal": True, "padded": True}
_SIZES = ((32, 32), (32, 128), (16, 256), (8, 512), (2, 1024))  # batch, length


_OURS, _KERAS, _TORCH = "keras_attention", "keras.layers", "torch, scaled_dot_product_attention"
_TIMES = f"every size: times as fast as {_KERAS}.MultiHeadAttention"

CASE = Case(
    title="Self-attention of 8 heads at usual sizes, forward and backward",
    points=[{"batch": batch, "length": length, **_HEADS} for batch, length in _SIZES],
    contenders=[
        *with_and_without_xla(f"{_KERAS}.MultiHeadAttention", _KERAS, self_attention.keras_layers),
        *with_and_without_xla(_OURS, _OURS, self_attention.keras_attention),
        Contender(_TORCH, "torch", self_attention.torch_function, "torch"),
    ],
    unit=("queries", lambda sizes: sizes["batch"] * sizes["length"]),
    compare=compare_without_padding,
    bars=[
        Bar(f"{_TIMES}, both without XLA", least_speedup(_KERAS, jit_compile=False), at_least=1.1),
        Bar(f"{_TIMES}, both with XLA", least_speedup(_KERAS, jit_compile=True), at_least=1.1),
        Bar("every size: times as fast as torch", least_speedup("torch")),
    ],
    trial={"batch": 3, "heads": 2, "length": 7, "width": 5},
    on_gpu=True,
)
