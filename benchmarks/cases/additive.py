"""Additive attention, forward and backward, against Keras's own.

    context = softmax(v^T tanh(query W + memory U)) memory

Query and memory are `length` long and `units` wide.
"""

from benchmarks.bars import Bar, extra_memory, fastest, find, memory_ratio, speedup
from benchmarks.case import Case, with_and_without_xla
from benchmarks.steps import Problem, gradient_work

_LONG = {"batch": 4, "length": 512, "units": 256}
_SHORT = {"batch": 32, "length": 64, "units": 256}
_LONGEST = {"batch": 1, "length": 4096, "units": 256}


def _problem(options):
    units = options["units"]
    shape = (options["batch"], options["length"], units)
    weights = {"W": (units, units), "U": (units, units), "v": (units,)}
    return Problem({"query": shape, "memory": shape}, shape, weights)


def keras_attention(options):
    import keras_attention as ka

    problem = _problem(options)
    layer = ka.BahdanauAttention(options["units"])
    layer.build(*problem.shapes)
    variables = [layer.score.query_kernel, layer.score.key_kernel, layer.score.score_vector]
    return gradient_work(layer, variables, problem, options)


def keras_layers(options):
    """AdditiveAttention has no projections: Dense layers are put before it."""
    import keras

    problem = _problem(options)
    query, key = (keras.layers.Dense(options["units"], use_bias=False) for _ in range(2))
    attention = keras.layers.AdditiveAttention()
    for layer, shape in ((query, problem.shapes[0]), (key, problem.shapes[1])):
        layer.build(shape)
    attention.build(problem.shapes)
    variables = [query.kernel, key.kernel, attention.scale]

    def attend(inputs, memory):
        return attention([query(inputs), memory, key(memory)])

    return gradient_work(attend, variables, problem, options)


def _longest_mib(points):
    return extra_memory(fastest(find(points, _LONGEST), "keras_attention")) / 2**20


_KERAS, _DENSE = "keras.layers", "Dense, Dense, keras.layers.AdditiveAttention"
_TIMES, _MEMORY = f"times as fast as {_KERAS}", f"share of the extra memory of {_KERAS}"
_EACH, _BOTH = "each side at the faster of XLA on and off", "both without XLA"

CASE = Case(
    title="Additive attention, forward and backward",
    points=[_LONG, _SHORT, _LONGEST],
    contenders=[
        # Keras's would take 17 GB at the longest.
        *with_and_without_xla(
            _DENSE, _KERAS, keras_layers, takes_part=lambda s: s["length"] < 4096
        ),
        *with_and_without_xla("keras_attention", "keras_attention", keras_attention),
    ],
    unit=("queries", lambda sizes: sizes["batch"] * sizes["length"]),
    bars=[
        Bar(f"B=4, T=S=512: {_TIMES}, {_EACH}", speedup(_KERAS, _LONG), at_least=2.2),
        Bar(f"B=4, T=S=512: {_MEMORY}", memory_ratio(_KERAS, _LONG), at_most=1 / 20),
        Bar(
            f"B=4, T=S=512: {_TIMES}, {_BOTH}",
            speedup(_KERAS, _LONG, jit_compile=False),
            at_least=1.2,
        ),
        Bar(f"B=32, T=S=64: {_TIMES}, {_EACH}", speedup(_KERAS, _SHORT), at_least=2),
        Bar("B=1, T=S=4096: extra memory", _longest_mib, at_most=1e9 / 2**20, unit="MiB"),
    ],
    extra_memory=True,
    trial={"batch": 1, "length": 150, "units": 64},  # In tiles, as at the points.
    on_gpu=True,
)
