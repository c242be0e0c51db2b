"""Multi-head self-attention without biases, against Keras's own and fused kernels.

    head_i = softmax(x Q_i (x K_i)^T / sqrt(width)) x V_i;  output = [head_1; ...; head_h] O

The kernels are (heads * width, heads * width), with the heads side by side. With the option
`padded` the sequences end in padding, which the loss leaves out.
"""

from benchmarks.bars import Bar, memory_ratio, speedup, time_ratio
from benchmarks.case import Case, Contender, with_and_without_xla
from benchmarks.padding import padding_mask
from benchmarks.steps import Problem, gradient_work

_SIZES = {"batch": 1, "heads": 8, "length": 4096, "width": 64}
_PLAIN, _CAUSAL = {"causal": False}, {"causal": True}


def _problem(options):
    width = options["heads"] * options["width"]
    shape = (options["batch"], options["length"], width)
    weights = {f"{name} kernel": (width, width) for name in ("query", "key", "value", "output")}
    problem = Problem({"sequence": shape}, shape, weights)
    if options.get("padded"):
        problem.upstream *= padding_mask(options)[..., None]
    return problem


def _mask(options):
    import keras

    return keras.ops.convert_to_tensor(padding_mask(options)) if options.get("padded") else None


def keras_attention(options):
    import keras_attention as ka

    problem, mask = _problem(options), _mask(options)
    layer = ka.SelfAttention(options["heads"], options["width"], use_bias=False)
    layer.build(*problem.shapes)
    variables = [layer.query_kernel, layer.key_kernel, layer.value_kernel, layer.output_kernel]

    def attend(sequence):
        return layer(sequence, query_mask=mask, use_causal_mask=options["causal"])

    return gradient_work(attend, variables, problem, options)


def keras_layers(options):
    import keras

    problem, mask = _problem(options), _mask(options)
    layer = keras.layers.MultiHeadAttention(options["heads"], options["width"], use_bias=False)
    layer.build(problem.shapes[0], problem.shapes[0])
    denses = (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense)

    def attend(sequence):
        masks = {"query_mask": mask, "value_mask": mask}
        return layer(sequence, sequence, **masks, use_causal_mask=options["causal"])

    return gradient_work(attend, [dense.kernel for dense in denses], problem, options)


def _keras_self_attention(options):
    """It has one head and no projections: heads are entries of the batch, between products."""
    import tensorflow as tf
    from keras_self_attention import ScaledDotProductAttention

    problem = _problem(options)
    batch, length, heads, width = (options[s] for s in ("batch", "length", "heads", "width"))
    variables = [tf.Variable(kernel) for kernel in problem.weights.values()]
    attention = ScaledDotProductAttention(history_only=options["causal"])

    def attend(sequence):
        *projections, output = variables
        split = [tf.reshape(sequence @ each, (batch, length, heads, width)) for each in projections]
        by_head = [tf.transpose(each, (0, 2, 1, 3)) for each in split]
        context = attention([tf.reshape(each, (-1, length, width)) for each in by_head])
        context = tf.reshape(context, (batch, heads, length, width))
        return tf.reshape(tf.transpose(context, (0, 2, 1, 3)), (batch, length, -1)) @ output

    return gradient_work(attend, variables, problem, options)


def torch_function(options):
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    problem = _problem(options)
    variables = [torch.tensor(each, requires_grad=True) for each in problem.weights.values()]
    # It takes one mask. Cases with padding are causal: no real query sees the padding at the end.

    def attend(sequence):
        *projections, output = variables
        split = (*sequence.shape[:2], options["heads"], options["width"])
        by_head = [(sequence @ each).reshape(split).transpose(1, 2) for each in projections]
        context = scaled_dot_product_attention(*by_head, is_causal=options["causal"])
        return context.transpose(1, 2).reshape(sequence.shape) @ output

    return gradient_work(attend, variables, problem, options)


_KERAS, _OTHER = "keras.layers.MultiHeadAttention", "keras-self-attention"
_MEMORY = f"memory of {_KERAS}"
_TORCH = "times the time of torch's fused kernel"

CASE = Case(
    title="Self-attention of 8 heads, forward and backward",
    points=[{**_SIZES, **_PLAIN}, {**_SIZES, **_CAUSAL}],
    contenders=[
        *with_and_without_xla(_KERAS, "keras.layers", keras_layers),
        *with_and_without_xla("keras_attention", "keras_attention", keras_attention),
        *with_and_without_xla(_OTHER, _OTHER, _keras_self_attention, "keras_self_attention"),
        Contender("torch, scaled_dot_product_attention", "torch", torch_function, "torch"),
    ],
    unit=("queries", lambda sizes: sizes["batch"] * sizes["length"]),
    bars=[
        Bar(f"times as fast as {_KERAS}", speedup("keras.layers", _PLAIN), at_least=1),
        Bar(f"share of the extra {_MEMORY}", memory_ratio("keras.layers", _PLAIN), at_most=1 / 10),
        Bar(f"causal: times as fast as {_KERAS}", speedup("keras.layers", _CAUSAL), at_least=1.7),
        Bar(_TORCH, time_ratio("torch", _PLAIN), at_most=1.6),
        Bar(f"causal: {_TORCH}", time_ratio("torch", _CAUSAL), at_most=1.6),
    ],
    extra_memory=True,
    trial={"heads": 2, "length": 600},  # Several tiles, of the width that the products have.
    on_gpu=True,
)
