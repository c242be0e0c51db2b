"""This library: BahdanauDecoder with SoftSpatialAttention."""

import keras

import keras_attention as ka
from benchmarks import tensorflow_steps, worker
from benchmarks.spatial_decoder import problem, steps


def setup(options):
    tensorflow_steps.limit_threads(options)
    words, regions, upstream, weights = problem.arrays(options)
    decoder = ka.BahdanauDecoder(
        keras.layers.LSTMCell(options["units"]),
        ka.SoftSpatialAttention(options["units"], gate=False),
    )
    decoder.build(words.shape, regions.shape)
    score = decoder.attention.score
    for name in ("query_kernel", "key_kernel", "score_vector"):
        getattr(score, name).assign(weights[name])
    decoder.cell.set_weights([weights[name] for name in ("kernel", "recurrent", "bias")])
    return steps.work(decoder, decoder.trainable_weights, words, regions, upstream, options)


if __name__ == "__main__":
    worker.serve(setup)
