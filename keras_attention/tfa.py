"""Weights from TensorFlow Addons, which ended in 2024 and does not run on Keras 3.

`tfa.seq2seq.AttentionWrapper` runs its cell first, with any attention mechanism. Its counterpart
here is therefore `LuongDecoder`, even with tfa's `BahdanauAttention`.
"""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_attention import alignments, scores
from keras_attention._internal import rnn
from keras_attention.attention.scored import ScoredAttention
from keras_attention.decoders.luong import LuongDecoder


def set_tfa_weights(layer: Any, weights: Mapping[str, Any]) -> None:
    """Assigns the weights of the tfa counterpart to a built attention layer or decoder.

    | name in `weights` | goes to |
    |---|---|
    | "memory_layer/kernel" | `key_kernel` of an additive score, `kernel` of a general score |
    | "query_layer/kernel" | `query_kernel` of an additive score |
    | "attention_v" | `score_vector` of an additive score |
    | "attention_g" | `gain` of a normalized additive score, `scale` of a general score |
    | "attention_b" | `bias` of a normalized additive score |
    | "attention_score_bias" | `bias` of a monotonic alignment |
    | "cell/kernel", "cell/bias", ... | the weight of that name of the cell |
    | "cell/0/kernel", ... | the same for the cells of `StackedRNNCells` |
    | "attention_layer/kernel" | the kernel of `attention_layer` |

    The rows of the last one are reordered, since tfa concatenates [cell output; context] and
    `LuongDecoder` concatenates [context; cell output].

    Args:
        layer: A built `LuongDecoder`, or a built attention layer with an additive or a general
            score. An attention layer takes only the names above those of the cell.
        weights: A dict from these names to arrays in tfa's layout. It must hold all weights of
            `layer`.

    Raises:
        ValueError: If `layer` is of another class or not built, a name is missing or unknown, or a
            shape differs. Then nothing is assigned.

    Example:

    >>> attention = ka.LuongAttention("general")
    >>> context = attention(np.ones((2, 3, 7)), np.ones((2, 5, 11)))
    >>> ka.tfa.set_tfa_weights(attention, {"memory_layer/kernel": np.full((11, 7), 0.5)})
    >>> float(attention.score.kernel[0, 0])
    0.5
    """
    if not isinstance(layer, ScoredAttention | LuongDecoder):
        raise ValueError(
            f"`layer` is a {type(layer).__name__}; expected an attention or a LuongDecoder: "
            "tfa's AttentionWrapper runs the cell first, also with BahdanauAttention."
        )
    if not layer.built:
        raise ValueError(f"`layer` '{layer.name}' is not built; expected a built layer.")
    targets = _targets(layer)
    arrays = {
        name: ops.convert_to_tensor(weights[name], dtype=variable.dtype)
        for name, variable in targets.items()
        if name in weights
    }
    problems = [f"{name!r} is missing" for name in targets if name not in weights]
    problems += [f"{name!r} is unknown" for name in weights if name not in targets]
    problems += [
        f"{name!r} has shape {tuple(array.shape)}"
        for name, array in arrays.items()
        if tuple(array.shape) != tuple(targets[name].shape)
    ]
    if problems:
        expected = ", ".join(f"{name!r} {tuple(v.shape)}" for name, v in targets.items())
        raise ValueError(
            f"`weights` for {type(layer).__name__} '{layer.name}': {', '.join(problems)}; "
            f"expected {expected}."
        )
    if "attention_layer/kernel" in arrays:
        # [cell output; context] -> [context; cell output]
        kernel, rows = arrays["attention_layer/kernel"], rnn.output_size(layer.cell)
        arrays["attention_layer/kernel"] = ops.roll(kernel, -rows, axis=0)
    for name, array in arrays.items():
        targets[name].assign(array)


def _targets(layer: Any) -> dict:
    """Returns the variables of `layer` by tfa's names."""
    if isinstance(layer, ScoredAttention):
        targets = _score_targets(layer.score)
        if isinstance(layer.alignment, alignments.Monotonic):
            targets["attention_score_bias"] = layer.alignment.bias
        return targets
    targets = _targets(layer.attention) | _cell_targets(layer.cell)
    if layer.attention_layer is not None:
        targets["attention_layer/kernel"] = layer.attention_layer.kernel
    return targets


def _score_targets(score: Any) -> dict:
    if isinstance(score, scores.Additive):
        targets = {
            "memory_layer/kernel": score.key_kernel,
            "query_layer/kernel": score.query_kernel,
            "attention_v": score.score_vector,
        }
        return targets | (
            {"attention_g": score.gain, "attention_b": score.bias} if score.normalize else {}
        )
    if isinstance(score, scores.General):
        targets = {"memory_layer/kernel": score.kernel}
        return targets | ({"attention_g": score.scale} if score.use_scale else {})
    raise ValueError(
        f"`layer` has the score {type(score).__name__}, which tfa does not have; expected "
        "Additive (its BahdanauAttention) or General (its LuongAttention)."
    )


def _cell_targets(cell: Any, prefix: str = "cell") -> dict:
    if isinstance(cell, keras.layers.StackedRNNCells):
        numbered = [_cell_targets(c, f"{prefix}/{i}") for i, c in enumerate(cell.cells)]
        return {name: variable for targets in numbered for name, variable in targets.items()}
    return {f"{prefix}/{variable.name}": variable for variable in cell.weights}
