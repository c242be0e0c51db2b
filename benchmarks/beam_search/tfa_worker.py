"""TensorFlow Addons: BeamSearchDecoder, with memory and lengths tiled as it asks for."""

import tensorflow as tf
import tensorflow_addons as tfa

from benchmarks import tensorflow_steps, worker
from benchmarks.translator import problem, tfa_model


def setup(options):
    tensorflow_steps.limit_threads(options)
    source = tf.constant(problem.batch(options)[0])
    model = tfa_model.build(options, problem.for_search(problem.weights(options)))
    beam = options["beam"]
    decoder = tfa.seq2seq.BeamSearchDecoder(
        model.wrapper,
        beam,
        output_layer=model.head,
        maximum_iterations=options["target_steps"],
    )

    @tf.function
    def search(source):
        tiled = [tfa.seq2seq.tile_batch(each, beam) for each in model.encode(source)]
        state = model.begin(*tiled)
        start = tf.fill(tf.shape(source)[:1], problem.START)
        outputs, state, _ = decoder(
            model.target_embedding.variables[0],
            start_tokens=start,
            end_token=problem.END,
            initial_state=state,
        )
        return outputs.predicted_ids[:, :, 0], state.log_probs[:, 0]

    def outputs():
        tokens, scores = search(source)
        return {"tokens": tokens, "scores": scores}

    return worker.Work(
        step=lambda: search(source)[0].numpy(),
        outputs=outputs,
        facts={"versions": {"tensorflow": tf.__version__, "tensorflow-addons": tfa.__version__}},
    )


if __name__ == "__main__":
    worker.serve(setup)
