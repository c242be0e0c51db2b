"""The training step of a translator: forward, backward, Adam; teacher forcing."""

import math

import numpy as np

from benchmarks import translator
from benchmarks.bars import Bar, speedup
from benchmarks.case import Case, Contender, Work, with_and_without_xla

SIZES = {"width": 256, "vocabulary": 8000, "batch": 64, "source_steps": 20, "target_steps": 20}


def _keras_attention(options):
    """EncoderDecoder, trained by the function that `fit` calls."""
    import tensorflow as tf

    import keras_attention as ka

    *inputs, target_out = translator.draw_batch(options)
    model = translator.keras_attention(options)
    model.compile("adam", ka.losses.LinearCrossentropy(), jit_compile=options["jit_compile"])
    batch = tf.data.Dataset.from_tensors((tuple(inputs), target_out))
    iterator = iter(batch.repeat().prefetch(2))
    model.make_train_function()

    def evaluate(model, whose=""):
        logits = model(inputs)
        loss = model.compute_loss(y=target_out, y_pred=logits)
        return {f"{whose}loss": loss, f"{whose}logits": logits[0]}

    def outputs():
        found = evaluate(model)
        if options["decoder"] == "bahdanau":
            stand_in = translator.keras_attention({**options, "decoder": translator.STAND_IN})
            stand_in.compile(loss=ka.losses.LinearCrossentropy())
            found |= evaluate(stand_in, "joeynmt's ")
        return found

    return Work(lambda: float(model.train_function(iterator)["loss"]), outputs)


def _tfa(options):
    """Its tutorials give the head to the decoder as `output_layer`; after the loop it is faster."""
    import tensorflow as tf

    source, target_in, target_out = map(tf.constant, translator.draw_batch(options))
    model = translator.tfa(options, options["loop"])
    cross_entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(model.variables)

    @tf.function(jit_compile=options["xla"])
    def step(source, target_in, target_out):
        with tf.GradientTape() as tape:
            loss = cross_entropy(target_out, model.call(source, target_in))
        gradients = tape.gradient(loss, model.variables)
        optimizer.apply_gradients(zip(gradients, model.variables, strict=True))
        return loss

    def outputs():
        logits = model.call(source, target_in, start_at_context=options["decoder"] == "bahdanau")
        return {"loss": cross_entropy(target_out, logits), "logits": logits[0]}

    return Work(lambda: step(source, target_in, target_out).numpy(), outputs)


def _joeynmt(options):
    """The step of its TrainManager, without counting correct tokens, with torch's fused Adam."""
    import torch
    from joeynmt.batch import Batch

    source, target_in, target_out = translator.draw_batch(options)
    target = np.concatenate([target_in, target_out[:, -1:]], axis=1)
    model = translator.joeynmt(options)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), eps=1e-7, fused=True)
    source, target = (torch.tensor(each, dtype=torch.long) for each in (source, target))
    sizes = {"src_length": torch.full(source.shape[:1], source.shape[1])}
    sizes |= {"indices": torch.arange(len(source)), "device": torch.device("cpu")}
    ids = {"pad_index": model.pad_index, "eos_index": model.eos_index}
    prompts = {"src_prompt_mask": None, "trg_prompt_mask": None}
    data = Batch(src=source, trg=target, **sizes, **ids, **prompts)

    def forward():
        memory, last, _, _ = model(return_type="encode", **vars(data))
        states = {"encoder_output": memory, "encoder_hidden": last}
        steps = data.trg.shape[1]
        logits, *_ = model(return_type="decode", unroll_steps=steps, **states, **vars(data))
        loss = model.loss_function(torch.log_softmax(logits, dim=-1), **vars(data))
        return data.normalize(loss, normalization="tokens"), logits

    def step():
        data.sort_by_src_length()
        loss, _ = forward()
        loss.backward()
        optimizer.step()
        model.zero_grad()
        return loss.item()

    def outputs():
        with torch.no_grad():
            loss, logits = forward()
        whose = "joeynmt's " if options["decoder"] == "bahdanau" else ""
        return {f"{whose}loss": loss.numpy(), f"{whose}logits": logits[0].numpy()}

    return Work(step, outputs)


def _shapes(options):
    """Returns the shapes of the products: rows, inner, columns, steps, weights of this shape."""
    width, rows, vocabulary = options["width"], options["batch"], options["vocabulary"]
    source, target = options["source_steps"], options["target_steps"]
    shapes = [
        (rows * source, width, 3 * width, 1, 2),  # encoder, tokens, both directions
        (rows, width, 3 * width, source, 2),  # encoder, states
        (rows * source, 2 * width, width, 1, 1),  # keys
        (rows * target, width, 3 * width, 1, 1),  # decoder, tokens
        (rows, width, 3 * width, target, 1),  # decoder, states
        (rows * target, width, vocabulary, 1, 1),  # head
    ]
    if options["decoder"] == "bahdanau":  # queries; contexts
        shapes += [(rows, width, width, target, 1), (rows, 2 * width, 3 * width, target, 1)]
    elif options["decoder"] == translator.FEEDING:  # attentional vectors, fed back and made
        shapes += [(rows, width, 3 * width, target, 1), (rows, 3 * width, width, target, 1)]
    else:  # attentional vectors
        shapes += [(rows * target, 3 * width, width, 1, 1)]
    return shapes


def products(options):
    """Returns the operations of these products, forward and of both gradients."""
    return sum(3 * 2 * math.prod(shape) for shape in _shapes(options))


def _gemms(options):
    """The matrix products of the step and nothing else, with NumPy's BLAS or TensorFlow's."""
    import tensorflow as tf

    draw = np.random.default_rng(0).standard_normal

    def product(a, b):
        if options["library"] == "numpy":
            result = np.empty((a.shape[0], b.shape[1]), "float32")
            return lambda: np.matmul(a, b, out=result)
        # Transposed factors are transposed by the product, as in a real gradient.
        transposed = {"transpose_a": a.base is not None, "transpose_b": b.base is not None}
        a, b = (tf.constant(each if each.base is None else each.base) for each in (a, b))
        return lambda: tf.matmul(a, b, **transposed)

    found = []
    for rows, inner, columns, steps, weights in _shapes(options):
        sizes = ((inner, columns), (rows, columns), (rows * steps, inner), (rows * steps, columns))
        weight, results, all_inputs, all_results = (draw(each, "float32") for each in sizes)
        # Forward and for the rows' gradient, at each step; for the weight's gradient, over all.
        each = [product(all_inputs[:rows].copy(), weight), product(results, weight.T)]
        found += (each * steps + [product(all_inputs.T, all_results)]) * weights

    def step():
        for each in found:
            each()

    return Work(step)


def _bar(name, what, peer, at_least=None):
    return Bar(f"{name}: {what}", speedup(peer, {"decoder": _DECODERS[name]}), at_least)


# What never pays with one decoder need not be tried with the others.
_FIRST = {"takes_part": lambda sizes: sizes["decoder"] == "bahdanau"}
_TFA = ("tfa", _tfa, "tfa")
_FEEDING, _PLAIN = "Luong with input feeding", "Luong without input feeding"
_DECODERS = {"Bahdanau": "bahdanau", _FEEDING: translator.FEEDING, _PLAIN: "luong"}
_TOKENS = "times the target tokens per second"

CASE = Case(
    title="Training step of a translator",
    points=[{"decoder": decoder, **SIZES} for decoder in _DECODERS.values()],
    contenders=[
        *with_and_without_xla("keras_attention", "keras_attention", _keras_attention),
        Contender("tfa, head as output_layer", *_TFA, {"xla": False, "loop": True}, **_FIRST),
        Contender("tfa, head after the loop", *_TFA, {"xla": False, "loop": False}),
        Contender("tfa, head after the loop, XLA", *_TFA, {"xla": True, "loop": False}, **_FIRST),
        Contender("joeynmt", "joeynmt", _joeynmt, "joeynmt"),
        Contender("GEMMs alone, numpy", "GEMMs", _gemms, options={"library": "numpy"}),
        Contender("GEMMs alone, tensorflow", "GEMMs", _gemms, options={"library": "tensorflow"}),
    ],
    unit=("target tokens", lambda sizes: sizes["batch"] * sizes["target_steps"]),
    bars=[
        *(_bar(name, "share of the GEMM floor", "GEMMs", 0.85) for name in _DECODERS),
        *(_bar(name, f"{_TOKENS} of tfa", "tfa") for name in _DECODERS),
        *(_bar(name, f"{_TOKENS} of joeynmt", "joeynmt") for name in _DECODERS),
    ],
    floor="GEMMs",
    trial={"width": 16, "vocabulary": 50, "batch": 5, "source_steps": 7, "target_steps": 5},
)
