"""Causal blocks that run step by step over a cache, in one graph, against those of keras-hub.

Both run one loop over the steps of given inputs, and keep the outputs. Each block has a cache of
its own: keras-hub's models stack all caches to one tensor, which copies them at each step.
"""

from benchmarks.bars import Bar, least_speedup
from benchmarks.case import Case, with_and_without_xla
from benchmarks.cases import transformer_blocks
from benchmarks.steps import Problem, gradient_work

_BLOCKS = {"blocks": 4, "width": 512, "heads": 8, "hidden": 2048}
_SIZES = ((1, 64), (1, 256), (16, 64))  # batch, length


def _problem(options):
    shape, weights = (options["batch"], options["length"], options["width"]), {}
    for number in range(options["blocks"]):
        weights |= transformer_blocks.block_weights(["self"], options, f"{number} ")
    problem = Problem({"sequence": shape}, shape, weights)
    transformer_blocks.scale_norms(problem)
    return problem


def _work(step, begin, variables, problem, options):
    """Returns the work of `step(inputs, state, t) -> (outputs, state)`, of (B, 1, D), for all t."""
    from keras import ops

    batch, length, width = problem.shapes[0]

    def decode(sequence):
        def body(t, outputs, state):
            inputs = ops.slice(sequence, (0, t, 0), (batch, 1, width))
            output, state = step(inputs, state, t)
            return t + 1, ops.slice_update(outputs, (0, t, 0), output), state

        start = (0, ops.zeros_like(sequence), begin())
        return ops.while_loop(lambda t, *_: t < length, body, start, maximum_iterations=length)[1]

    return gradient_work(decode, variables, problem, {**options, "backward": False})


def _keras_attention(options):
    import keras_attention as ka

    problem = _problem(options)
    settings = {"epsilon": transformer_blocks.EPSILON, "norm_first": True}
    blocks = [
        ka.TransformerEncoderBlock(options["heads"], options["hidden"], **settings)
        for _ in range(options["blocks"])
    ]
    variables = []
    for block in blocks:
        block.build(*problem.shapes)
        variables += transformer_blocks.variables(block, ["self"])

    def begin():
        return [block.begin(options["batch"], options["length"]) for block in blocks]

    def step(inputs, states, t):
        x, after = inputs[:, 0], []
        for block, state in zip(blocks, states, strict=True):
            x, _, state = block.step(x, state)
            after.append(state)
        return x[:, None], after

    return _work(step, begin, variables, problem, options)


def _keras_hub(options):
    from keras import ops
    from keras_hub import layers

    problem, heads = _problem(options), options["heads"]
    settings = {"layer_norm_epsilon": transformer_blocks.EPSILON, "normalize_first": True}
    blocks = [
        layers.TransformerDecoder(options["hidden"], heads, **settings)
        for _ in range(options["blocks"])
    ]
    variables = []
    for block in blocks:
        block.build(*problem.shapes)
        variables += transformer_blocks.hub_variables(block, ["self"])

    def begin():
        head = options["width"] // heads
        return [ops.zeros((options["batch"], 2, options["length"], heads, head)) for _ in blocks]

    def step(x, caches, t):
        after = []
        for block, cache in zip(blocks, caches, strict=True):
            place = {"self_attention_cache": cache, "self_attention_cache_update_index": t}
            x, cache = block(x, **place)
            after.append(cache)
        return x, after

    return _work(step, begin, variables, problem, options)


def _bar(jit_compile):
    both = "with XLA" if jit_compile else "without XLA"
    what = f"every size: times as fast as keras-hub's, both {both}"
    return Bar(what, least_speedup("keras-hub", jit_compile=jit_compile), at_least=1.1)


_OURS, _HUB = "keras_attention", "keras-hub"

CASE = Case(
    title="Cached decoding with causal blocks",
    points=[{"batch": batch, "length": length, **_BLOCKS} for batch, length in _SIZES],
    contenders=[
        *with_and_without_xla(_HUB, _HUB, _keras_hub, "keras_hub"),
        *with_and_without_xla(_OURS, _OURS, _keras_attention),
    ],
    unit=("tokens", lambda sizes: sizes["batch"] * sizes["length"]),
    bars=[_bar(jit_compile) for jit_compile in (False, True)],
    trial={"batch": 3, "length": 7, "blocks": 2, "width": 10, "heads": 2, "hidden": 13},
)
