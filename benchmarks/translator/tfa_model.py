"""TensorFlow Addons' translator: AttentionWrapper, its mechanisms, BasicDecoder.

The wrapper runs the cell first and feeds the context to the next step, so that started from the
context of the first state it is Bahdanau's decoder exactly. The outputs are compared like that. A
timed step starts from zeros, as the wrapper does by itself: one attention less.
"""

import tensorflow as tf
import tensorflow_addons as tfa

from benchmarks.translator import problem


class Translator(tf.keras.Model):
    """Source and target tokens to logits."""

    def __init__(self, sizes, head_in_loop=False):
        super().__init__()
        layers = tf.keras.layers
        vocabulary, width, decoder = sizes["vocabulary"], sizes["width"], sizes["decoder"]
        self.source_embedding = layers.Embedding(vocabulary, width, mask_zero=True)
        self.target_embedding = layers.Embedding(vocabulary, width)
        self.encoder = layers.Bidirectional(layers.GRU(width, return_sequences=True))
        self.bridge = layers.Dense(width, activation="tanh")
        self.cell = layers.GRUCell(width)
        self.head = layers.Dense(vocabulary, use_bias=False)
        options = {"output_attention": False}
        self.attention_layer = None
        if problem.is_luong(decoder):
            self.attention = tfa.seq2seq.LuongAttention(width)
            self.attention_layer = layers.Dense(width, activation="tanh", use_bias=False)
            options = {"output_attention": True, "attention_layer": self.attention_layer}
            if decoder == "luong":
                options["cell_input_fn"] = lambda inputs, attention: inputs
        else:
            self.attention = tfa.seq2seq.BahdanauAttention(width)
        self.wrapper = tfa.seq2seq.AttentionWrapper(self.cell, self.attention, **options)
        self.decoder = tfa.seq2seq.BasicDecoder(
            self.wrapper,
            tfa.seq2seq.TrainingSampler(),
            output_layer=self.head if head_in_loop else None,
            maximum_iterations=sizes["target_steps"],
        )
        self.head_in_loop = head_in_loop

    def encode(self, source):
        """Returns the memory, the first state of the cell, and the lengths."""
        mask = self.source_embedding.compute_mask(source)
        memory = self.encoder(self.source_embedding(source), mask=mask)
        counted = tf.cast(mask, memory.dtype)[..., None]
        mean = tf.reduce_sum(memory * counted, axis=1) / tf.reduce_sum(counted, axis=1)
        return memory, self.bridge(mean), tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)

    def begin(self, memory, first, lengths):
        """Gives the attention its memory; returns the first state of the wrapper."""
        self.attention.setup_memory(memory, memory_sequence_length=lengths)
        state = self.wrapper.get_initial_state(batch_size=tf.shape(memory)[0], dtype=memory.dtype)
        return state.clone(cell_state=first)

    def call(self, inputs, start_at_context=False):
        source, target_in = inputs
        memory, first, lengths = self.encode(source)
        state = self.begin(memory, first, lengths)
        if start_at_context:
            alignment, _ = self.attention([first, state.attention_state])
            state = state.clone(attention=tf.einsum("bs,bsd->bd", alignment, memory))
        steps = tf.fill(tf.shape(target_in)[:1], target_in.shape[1])
        outputs, _, _ = self.decoder(
            self.target_embedding(target_in), initial_state=state, sequence_length=steps
        )
        return outputs.rnn_output if self.head_in_loop else self.head(outputs.rnn_output)


def build(sizes, weights, head_in_loop=False):
    """Returns a translator with the benchmark's weights."""
    model = Translator(sizes, head_in_loop)
    source, target_in, _ = problem.batch(sizes)
    model((tf.constant(source[:2]), tf.constant(target_in[:2])))
    _load(model, weights, sizes["decoder"])
    return model


def _load(model, w, decoder):
    gru = ("kernel", "recurrent", "bias")
    model.source_embedding.set_weights([w["source_embedding"]])
    model.target_embedding.set_weights([w["target_embedding"]])
    model.encoder.set_weights([w[f"{d}_{p}"] for d in ("forward", "backward") for p in gru])
    model.bridge.set_weights([w["bridge_kernel"], w["bridge_bias"]])
    model.attention.memory_layer.set_weights([w["key_kernel"]])
    if problem.is_luong(decoder):
        model.attention_layer.set_weights([w["vector_kernel"]])
    else:
        model.attention.query_layer.set_weights([w["query_kernel"]])
        model.attention.attention_v.assign(w["score_vector"])
    model.cell.set_weights([w[f"{problem.cell(decoder)}_{p}"] for p in gru])
    model.head.set_weights([w["head_kernel"]])
