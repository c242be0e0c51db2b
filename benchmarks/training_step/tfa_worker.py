"""TensorFlow Addons: AttentionWrapper, BahdanauAttention, BasicDecoder, TrainingSampler.

The wrapper runs the cell first and feeds the context to the next step, so that started from the
context of the first state it is Bahdanau's decoder exactly. The outputs are compared like that. The
timed step starts from zeros, as the wrapper does by itself: one attention less.
Its tutorials hand the head to the decoder as `output_layer`, which applies it step by step. Applied
to all steps at once, after the loop, it is faster; both are measured.
"""

import tensorflow as tf
import tensorflow_addons as tfa

from benchmarks import worker
from benchmarks.training_step import problem


class Translator(tf.keras.Model):
    """Source and target tokens to logits."""

    def __init__(self, vocabulary, width, steps, head_in_loop):
        super().__init__()
        layers = tf.keras.layers
        self.source_embedding = layers.Embedding(vocabulary, width, mask_zero=True)
        self.target_embedding = layers.Embedding(vocabulary, width)
        self.encoder = layers.Bidirectional(layers.GRU(width, return_sequences=True))
        self.bridge = layers.Dense(width, activation="tanh")
        self.attention = tfa.seq2seq.BahdanauAttention(width)
        self.cell = layers.GRUCell(width)
        self.head = layers.Dense(vocabulary, use_bias=False)
        wrapper = tfa.seq2seq.AttentionWrapper(self.cell, self.attention, output_attention=False)
        self.decoder = tfa.seq2seq.BasicDecoder(
            wrapper,
            tfa.seq2seq.TrainingSampler(),
            output_layer=self.head if head_in_loop else None,
            maximum_iterations=steps,
        )
        self.head_in_loop = head_in_loop

    def call(self, inputs, start_at_context=False):
        source, target_in = inputs
        mask = self.source_embedding.compute_mask(source)
        memory = self.encoder(self.source_embedding(source), mask=mask)
        counted = tf.cast(mask, memory.dtype)[..., None]
        mean = tf.reduce_sum(memory * counted, axis=1) / tf.reduce_sum(counted, axis=1)
        first = self.bridge(mean)
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        self.attention.setup_memory(memory, memory_sequence_length=lengths)
        state = self.decoder.cell.get_initial_state(
            batch_size=tf.shape(source)[0], dtype=memory.dtype
        ).clone(cell_state=first)
        if start_at_context:
            alignment, _ = self.attention([first, state.attention_state])
            state = state.clone(attention=tf.einsum("bs,bsd->bd", alignment, memory))
        steps = tf.fill(tf.shape(target_in)[:1], target_in.shape[1])
        outputs, _, _ = self.decoder(
            self.target_embedding(target_in), initial_state=state, sequence_length=steps
        )
        return outputs.rnn_output if self.head_in_loop else self.head(outputs.rnn_output)


def setup(options):
    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    source, target_in, target_out = map(tf.constant, problem.batch(options))
    model = Translator(
        options["vocabulary"], options["width"], options["target_steps"], options["head_in_loop"]
    )
    model((source, target_in))
    load(model, problem.weights(options))
    cross_entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=options["jit_compile"])
    def step(source, target_in, target_out):
        with tf.GradientTape() as tape:
            loss = cross_entropy(target_out, model((source, target_in), training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def outputs():
        logits = model((source, target_in), start_at_context=True)
        return {"loss": cross_entropy(target_out, logits), "logits": logits[0]}

    return worker.Work(
        step=lambda: step(source, target_in, target_out).numpy(),
        outputs=outputs,
        facts={
            "versions": {"tensorflow": tf.__version__, "tensorflow-addons": tfa.__version__},
            "weights": sum(int(tf.size(v)) for v in model.trainable_variables),
        },
    )


def load(model, w):
    """Gives the model the benchmark's weights."""
    model.source_embedding.set_weights([w["source_embedding"]])
    model.target_embedding.set_weights([w["target_embedding"]])
    gru = ("kernel", "recurrent", "bias")
    model.encoder.set_weights([w[f"{d}_{p}"] for d in ("forward", "backward") for p in gru])
    model.bridge.set_weights([w["bridge_kernel"], w["bridge_bias"]])
    model.attention.memory_layer.set_weights([w["key_kernel"]])
    model.attention.query_layer.set_weights([w["query_kernel"]])
    model.attention.attention_v.assign(w["score_vector"])
    model.cell.set_weights([w[f"cell_{p}"] for p in gru])
    model.head.set_weights([w["head_kernel"]])


if __name__ == "__main__":
    worker.serve(setup)
