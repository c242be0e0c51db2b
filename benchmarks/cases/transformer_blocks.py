"""The Transformer's blocks, forward and backward, against those of keras-hub.

    encoder: y = LayerNorm(x + Attention(x, x));          LayerNorm(y + FFN(y))
    decoder: y = LayerNorm(x + CausalAttention(x, x));    z = LayerNorm(y + Attention(y, memory));
             LayerNorm(z + FFN(z));                       FFN(x) = gelu(x W_1 + b_1) W_2 + b_2

Sequences end in padding, which the loss leaves out. keras-hub's keys have a bias, which changes
nothing: here it is zero and gets no gradient. The activation is not ReLU, whose gradient jumps at
0: of millions of numbers, a few are so close to it that XLA rounds them to the other side.
"""

from benchmarks.bars import Bar, least_speedup
from benchmarks.case import Case, with_and_without_xla
from benchmarks.padding import compare_without_padding, padding_mask
from benchmarks.steps import Problem, gradient_work

_BLOCK = {"width": 512, "heads": 8, "hidden": 2048}
_SIZES = ((32, 64), (8, 256), (4, 512))  # batch, length of sequence and memory
EPSILON = 1e-5


def _problem(options):
    shape = (options["batch"], options["length"], options["width"])
    inputs = {"sequence": shape}
    attentions = ["self"]
    if options["block"] == "decoder":
        inputs["memory"] = shape
        attentions.append("cross")
    problem = Problem(inputs, shape, block_weights(attentions, options))
    problem.upstream *= padding_mask(options)[..., None]
    scale_norms(problem)
    return problem


def block_weights(attentions, options, prefix=""):
    """Returns the shapes of a block's weights, in the order of `variables` and `hub_variables`."""
    width, hidden, shapes = options["width"], options["hidden"], {}
    norm = {"gamma": (width,), "beta": (width,)}
    for attention in attentions:
        for part in ("query", "key", "value", "output"):
            shapes[f"{attention} {part} kernel"] = (width, width)
            if part != "key":
                shapes[f"{attention} {part} bias"] = (width,)
        shapes |= {f"{attention} norm {name}": shape for name, shape in norm.items()}
    shapes |= {"W_1": (width, hidden), "b_1": (hidden,), "W_2": (hidden, width), "b_2": (width,)}
    shapes |= {f"FFN norm {name}": shape for name, shape in norm.items()}
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def scale_norms(problem):
    """Makes the norms' factors those of a model: not far from 1."""
    for name in problem.weights:
        if name.endswith("gamma"):
            problem.weights[name] += 1


def variables(block, attentions):
    """Returns the weights of our block."""
    found = []
    for name in attentions:
        layer, norm = (getattr(block, f"{name}_attention{part}") for part in ("", "_norm"))
        found += [layer.query_kernel, layer.query_bias, layer.key_kernel]
        found += [layer.value_kernel, layer.value_bias, layer.output_kernel, layer.output_bias]
        found += [norm.gamma, norm.beta]
    norm = block.feed_forward_norm
    denses = block.hidden.trainable_weights + block.output_projection.trainable_weights
    return [*found, *denses, norm.gamma, norm.beta]


def hub_variables(block, attentions):
    """Returns the weights of keras-hub's block, without the keys' bias."""
    found = []
    for name in attentions:
        layer, norm = (getattr(block, f"_{name}_attention_layer{part}") for part in ("", "_norm"))
        query, key, value, output = (
            getattr(layer, f"{part}_dense") for part in ("query", "key", "value", "output")
        )
        found += [query.kernel, query.bias, key.kernel, value.kernel, value.bias]
        found += [output.kernel, output.bias, norm.gamma, norm.beta]
    hidden, output = block._feedforward_intermediate_dense, block._feedforward_output_dense
    norm = block._feedforward_layer_norm
    return [*found, hidden.kernel, hidden.bias, output.kernel, output.bias, norm.gamma, norm.beta]


def keras_attention(options):
    from keras import ops

    import keras_attention as ka

    problem, mask = _problem(options), ops.convert_to_tensor(padding_mask(options))
    settings = {"epsilon": EPSILON, "activation": "gelu", "norm_first": False}
    if options["block"] == "encoder":
        block = ka.TransformerEncoderBlock(options["heads"], options["hidden"], **settings)
        block.build(*problem.shapes)

        def call(sequence):
            return block(sequence, inputs_mask=mask)

        return gradient_work(call, variables(block, ["self"]), problem, options)
    block = ka.TransformerDecoderBlock(options["heads"], options["hidden"], **settings)
    block.build(*problem.shapes)

    def call(sequence, memory):
        return block(sequence, memory, inputs_mask=mask, memory_mask=mask)

    return gradient_work(call, variables(block, ["self", "cross"]), problem, options)


def keras_hub(options):
    from keras import ops
    from keras_hub import layers

    problem, mask = _problem(options), ops.convert_to_tensor(padding_mask(options))
    settings = {"layer_norm_epsilon": EPSILON, "activation": "gelu", "normalize_first": False}
    if options["block"] == "encoder":
        block = layers.TransformerEncoder(options["hidden"], options["heads"], **settings)
        block.build(*problem.shapes)

        def call(sequence):
            return block(sequence, padding_mask=mask)

        return gradient_work(call, hub_variables(block, ["self"]), problem, options)
    block = layers.TransformerDecoder(options["hidden"], options["heads"], **settings)
    block.build(*problem.shapes)

    def call(sequence, memory):
        masks = {"decoder_padding_mask": mask, "encoder_padding_mask": mask}
        return block(sequence, memory, **masks)

    return gradient_work(call, hub_variables(block, ["self", "cross"]), problem, options)


def _bar(block, jit_compile):
    both = "with XLA" if jit_compile else "without XLA"
    what = f"{block}, every size: times as fast as keras-hub's, both {both}"
    measure = least_speedup("keras-hub", {"block": block}, jit_compile=jit_compile)
    return Bar(what, measure, at_least=1.1)


_BLOCKS, _OURS, _HUB = ("encoder", "decoder"), "keras_attention", "keras-hub"

CASE = Case(
    title="Blocks of the Transformer, forward and backward",
    points=[
        {"block": block, "batch": batch, "length": length, **_BLOCK}
        for block in _BLOCKS
        for batch, length in _SIZES
    ],
    contenders=[
        *with_and_without_xla(_HUB, _HUB, keras_hub, "keras_hub"),
        *with_and_without_xla(_OURS, _OURS, keras_attention),
    ],
    unit=("tokens", lambda sizes: sizes["batch"] * sizes["length"]),
    compare=compare_without_padding,
    bars=[_bar(block, jit_compile) for block in _BLOCKS for jit_compile in (False, True)],
    trial={"batch": 3, "length": 7, "width": 10, "heads": 2, "hidden": 13},
)
