"""Rows of the Transformer: its positions, its blocks, and a model of them."""

import math

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, transformer
from table.row import CELL, UNITS, VALUE, Row
from table.self_attention import each, weights_of

HEADS, KEY_DIM, WIDTH, IDS, LONGEST = 2, 5, 6, 13, 7

# A block has one mask for queries and memory, which the generic tests of random masks do not
# support; test_transformer.py covers it. The output at a masked step is the residual of its input.
AMONG_THEMSELVES = {"weights": None, "zero": ("weights",)}

ACTIVATIONS = {"relu": lambda x: max(0.0, x), "tanh": math.tanh}


def weights_of_block(block):
    """The weights of a block, by their names in the oracles."""
    dense = [*block.hidden.weights, *block.output_projection.weights]
    weights = {"feed_forward": [to_numpy(weight) for weight in dense]}
    for name in ("self_attention", "cross_attention"):
        if hasattr(block, name):
            norm = getattr(block, f"{name}_norm")
            weights[name] = weights_of(getattr(block, name))
            weights[f"{name}_norm"] = to_numpy(norm.gamma), to_numpy(norm.beta)
    norm = block.feed_forward_norm
    return {**weights, "feed_forward_norm": (to_numpy(norm.gamma), to_numpy(norm.beta))}


def block_oracle(block, inputs, masks, causal):
    """Output and weights of a block, for the given masks."""
    x, memory = inputs["inputs"], inputs.get("memory")
    mask = masks.get("mask", masks.get("inputs_mask"))
    steps = (*x.shape[:2], x.shape[1])
    among = attention.combine(steps, mask, mask, None, masks.get("attention_mask"), causal)
    options = {
        "heads": block.num_heads,
        "weights": weights_of_block(block),
        "activation": ACTIVATIONS[block.activation.__name__],
        "norm_first": block.norm_first,
        "epsilon": block.epsilon,
    }
    if memory is None:
        return each(transformer.encoder_block, x, among, **options)
    over = attention.combine(
        (*x.shape[:2], memory.shape[1]),
        mask,
        masks.get("memory_mask"),
        None,
        masks.get("memory_attention_mask"),
    )
    return each(transformer.decoder_block, x, memory, among, over, **options)


def positions_oracle(layer, inputs, masks):
    encode, scale = transformer.position_encoding, layer.scale_inputs
    return [np.stack([encode(x, scale) for x in inputs["inputs"].astype(float)])]


def model_oracle(model, inputs, masks):
    """An embedding and positions in the encoder, one block in the decoder."""

    def embed(embedding, ids):
        x = to_numpy(embedding.embeddings)[ids]
        return np.stack([transformer.position_encoding(row, scale=True) for row in x])

    source, target_in = inputs["source"], inputs["target_in"]
    memory = embed(model.encoder.layers[0], source)
    x = embed(model.target_embedding, target_in)
    (block,) = model.decoder_blocks
    masks = {"inputs_mask": target_in != 0, "memory_mask": source != 0}
    outputs, _ = block_oracle(block, {"inputs": x, "memory": memory}, masks, causal=True)
    if block.norm_first:
        norm = to_numpy(model.final_norm.gamma), to_numpy(model.final_norm.beta)
        outputs = np.stack([transformer.layer_norm(row, norm, block.epsilon) for row in outputs])
    return [outputs @ to_numpy(model.head.kernel) + to_numpy(model.head.bias)]


def _block_row(name, block_class, masks, norm_first, causal=False, **options):
    across = block_class is ka.TransformerDecoderBlock

    def call(layer, tensors, masks):
        return layer(**tensors, **masks, use_causal_mask=causal, return_attention_scores=True)

    return Row(
        name=name,
        holds=(block_class,),
        make=lambda **k: block_class(HEADS, UNITS, norm_first=norm_first, **options, **k),
        inputs={"inputs": ("T", WIDTH), **({"memory": ("S", VALUE)} if across else {})},
        outputs={"output": ("T", WIDTH), "weights": (HEADS, "T", "S" if across else "T")},
        oracle=lambda layer, inputs, masks: block_oracle(layer, inputs, masks, causal),
        call=call,
        masks=masks,
        memory="S" if across else "T",
        **AMONG_THEMSELVES,
    )


def _model(dtype=None, norm_first=False):
    """An encoder without attention keeps the oracle short."""
    layers = keras.layers
    return ka.models.Transformer(
        keras.Sequential(
            [
                layers.Embedding(IDS, WIDTH, mask_zero=True, dtype=dtype),
                ka.SinusoidalPositionEncoding(scale_inputs=True, dtype=dtype),
            ]
        ),
        layers.Embedding(IDS, WIDTH, mask_zero=True, dtype=dtype),
        [ka.TransformerDecoderBlock(HEADS, CELL, norm_first=norm_first, dtype=dtype)],
        layers.Dense(IDS, dtype=dtype),
        max_length=LONGEST,
        dtype=dtype,
    )


ROWS = [
    Row(
        name="sinusoidal_position_encoding",
        holds=(ka.SinusoidalPositionEncoding,),
        make=lambda **k: ka.SinusoidalPositionEncoding(scale_inputs=True, **k),
        inputs={"inputs": ("T", WIDTH)},
        outputs={"outputs": ("T", WIDTH)},
        oracle=positions_oracle,
        call=lambda layer, tensors, masks: [layer(**tensors)],
        weights=None,
    ),
    _block_row(
        "transformer_encoder_block",
        ka.TransformerEncoderBlock,
        {"mask": ("T",), "attention_mask": ("T", "T")},
        norm_first=False,
    ),
    _block_row(
        "transformer_encoder_block_norm_first",
        ka.TransformerEncoderBlock,
        {"mask": ("T",)},
        norm_first=True,
        causal=True,
        key_dim=KEY_DIM,
        activation="tanh",
    ),
    _block_row(
        "transformer_decoder_block",
        ka.TransformerDecoderBlock,
        {"inputs_mask": ("T",), "memory_mask": ("S",)},
        norm_first=False,
        causal=True,
    ),
    _block_row(
        "transformer_decoder_block_norm_first",
        ka.TransformerDecoderBlock,
        {
            "inputs_mask": ("T",),
            "memory_mask": ("S",),
            "attention_mask": ("T", "T"),
            "memory_attention_mask": ("T", "S"),
        },
        norm_first=True,
        key_dim=KEY_DIM,
        activation="tanh",
    ),
    *(
        Row(
            name=f"transformer{name}",
            holds=(ka.models.Transformer, ka.TransformerDecoderBlock),
            make=lambda norm_first=norm_first, **k: _model(norm_first=norm_first, **k),
            inputs={"source": ("S",), "target_in": ("T",)},
            outputs={"logits": ("T", IDS)},
            oracle=model_oracle,
            call=lambda layer, tensors, masks: [layer((tensors["source"], tensors["target_in"]))],
            ids=IDS,
            seed=seed,
            weights=None,
        )
        for name, norm_first, seed in [("", False, 11), ("_norm_first", True, 69)]
    ),
]
