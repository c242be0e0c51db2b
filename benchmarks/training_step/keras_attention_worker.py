"""This library: EncoderDecoder with a BahdanauDecoder, trained by the function that `fit` calls."""

import keras
import numpy as np
import tensorflow as tf

import keras_attention as ka
from benchmarks import worker
from benchmarks.training_step import problem


def setup(options):
    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    source, target_in, target_out = problem.batch(options)
    model = build(options)
    model((source, target_in))
    load(model, problem.weights(options))
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", cross_entropy, jit_compile=options["jit_compile"])
    example = ((source, target_in), target_out)
    batches = iter(tf.data.Dataset.from_tensors(example).repeat().prefetch(2))
    model.make_train_function()

    def outputs():
        logits = model((source, target_in))
        return {"loss": cross_entropy(target_out, logits), "logits": logits[0]}

    return worker.Work(
        step=lambda: float(model.train_function(batches)["loss"]),
        outputs=outputs,
        facts={
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
            "weights": int(sum(np.prod(w.shape) for w in model.trainable_weights)),
        },
    )


def build(sizes):
    """Returns the translator."""
    vocabulary, width = sizes["vocabulary"], sizes["width"]
    layers = keras.layers
    encoder = keras.Sequential(
        [
            layers.Embedding(vocabulary, width, mask_zero=True),
            layers.Bidirectional(layers.GRU(width, return_sequences=True)),
        ]
    )
    return ka.models.EncoderDecoder(
        encoder,
        layers.Embedding(vocabulary, width, mask_zero=True),
        ka.BahdanauDecoder(layers.GRUCell(width), ka.BahdanauAttention(width)),
        layers.Dense(vocabulary, use_bias=False, dtype="float32"),
    )


def load(model, w):
    """Gives the model the benchmark's weights."""
    gru = ("kernel", "recurrent", "bias")
    embedding, encoder = model.encoder.layers
    embedding.set_weights([w["source_embedding"]])
    encoder.set_weights([w[f"{d}_{p}"] for d in ("forward", "backward") for p in gru])
    model.target_embedding.set_weights([w["target_embedding"]])
    model.bridge.set_weights([w["bridge_kernel"], w["bridge_bias"]])
    score = model.decoder.attention.score
    for name in ("query_kernel", "key_kernel", "score_vector"):
        getattr(score, name).assign(w[name])
    model.decoder.cell.set_weights([w[f"cell_{p}"] for p in gru])
    model.head.set_weights([w["head_kernel"]])


if __name__ == "__main__":
    worker.serve(setup)
