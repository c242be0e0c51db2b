"""Writes this library's translator, with its beam search, as a SavedModel into a folder."""

import json
import sys

import tensorflow as tf

import keras_attention as ka
from benchmarks.translator import keras_attention_model, problem


def export(options):
    weights = problem.for_search(problem.weights(options))
    model = keras_attention_model.build(options, weights)

    def translate(source):
        result = ka.search.beam(
            model.step,
            model.begin(source),
            problem.START,
            problem.END,
            max_length=options["target_steps"],
            beam_width=options["beam"],
            n_best=1,
        )
        return {"tokens": result.tokens[:, 0], "scores": result.scores[:, 0]}

    specs = [tf.TensorSpec([None, None], "int32", name="source")]
    ka.export.saved_model(model, options["folder"], {"translate": (translate, specs)})


if __name__ == "__main__":
    export(json.loads(sys.argv[1]))
