"""Inspection: the attention weights of a model that was built and trained without them."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, final

import keras

from keras_attention._internal.serialization import deserialize
from keras_attention._internal.typing import Config, Tensor
from keras_attention.decoders.base import AttentionDecoder
from keras_attention.models.base import Seq2SeqModel


def attention_model(model: keras.Model, layer: str | keras.layers.Layer) -> keras.Model:
    """Returns a model with the inputs of `model` that returns the attention weights of a layer.

    The returned model runs `model` as it is, with its masks, and shares its weights. After further
    training, it therefore shows what `model` attends to then. It can be saved, exported and trained
    like any other model.

    Args:
        model: A functional or sequential model, or a model of `ka.models`. It must be built.
        layer: A layer of `model` at any depth, or its name. It is an attention layer of this
            library or of Keras; or a decoder, or the attention layer in one, for the weights that
            the decoder's `decode` returns; or a model of `ka.models`, for the weights that its own
            `decode` returns. `model` must call it exactly once.

    Returns:
        A functional model. Its inputs are those of `model`; for a model of `ka.models` they are
        (source, target_in). Its output is the weights that the layer returns with
        `return_attention_scores`.

    Raises:
        ValueError: If there is no such layer, or more than one; if the layer has no attention
            weights; if `model` does not call it, or calls it more than once; or if the inputs of
            `model` are not known.

    Example:

    >>> words = keras.Input((None,), dtype="int32")
    >>> x = keras.layers.Embedding(11, 8, mask_zero=True)(words)
    >>> x = ka.SelfAttention(num_heads=2, key_dim=5, name="look")(x)
    >>> model = keras.Model(words, keras.layers.Dense(3)(x))
    >>> weights = ka.attention_model(model, "look").predict(np.array([[4, 7, 0]]), verbose=0)
    >>> weights.shape, float(weights[..., 2].max())
    ((1, 2, 3, 3), 0.0)
    """
    found = _find(model, layer)
    inputs = _inputs(model)
    weights = _AttentionWeights(model, found, name=f"{found.name}_weights")(inputs)
    if len(weights) != 1:
        raise ValueError(
            f"`layer` is '{found.name}', which '{model.name}' calls {len(weights)} times; expected "
            "a layer that it calls once."
        )
    return keras.Model(inputs, weights[0])


@final
@keras.saving.register_keras_serializable("keras_attention", name="AttentionWeights")
class _AttentionWeights(keras.layers.Layer):
    """Calls a model; returns a list of the attention weights of each call to one of its layers."""

    def __init__(self, model: Any, layer: Any, **kwargs: Any) -> None:
        # The model casts its inputs by itself.
        super().__init__(**{"autocast": False, **kwargs})
        self.model = deserialize(model)
        # Not an attribute that Keras tracks: it is saved as a part of the model.
        self.__dict__["_layer"] = _find(self.model, layer)
        self.supports_masking = True

    def call(self, inputs: Tensor, training: bool | None = None) -> list[Tensor]:
        with _recorded_weights(self.__dict__["_layer"]) as recorded:
            self.model(inputs, training=training)
        return recorded

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor = None) -> None:
        return None

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "layer": self.__dict__["_layer"].name,
        }


@contextlib.contextmanager
def _recorded_weights(layer: keras.layers.Layer) -> Iterator[list[Tensor]]:
    """A scope in which the layer appends the weights of each of its calls to a list."""
    name, run = _observed(layer)
    recorded: list[Tensor] = []

    def observed(*args: Any, **kwargs: Any) -> Any:
        outputs, weights = run(*args, **kwargs)
        recorded.append(weights)
        return outputs

    # An attribute of the instance goes before the method of its class; Keras is not to track it.
    before = layer.__dict__.get(name)
    layer.__dict__[name] = observed
    try:
        yield recorded
    finally:
        del layer.__dict__[name]
        if before is not None:
            layer.__dict__[name] = before


def _observed(layer: keras.layers.Layer) -> tuple[str, Callable[..., tuple[Any, Tensor]]]:
    """Returns the name of a method, and a function that returns its result and the weights."""
    if isinstance(layer, AttentionDecoder):  # its `call` and its `decode` run `_decode`
        decode = layer._decode

        def run_decode(*args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
            results = decode(*args, **kwargs)
            return results, results[1]

        return "_decode", run_decode
    if isinstance(layer, Seq2SeqModel):
        return "call", lambda *args, **kwargs: layer.decode(*args, **kwargs)[:2]
    call, signature = layer.call, inspect.signature(layer.call)

    def run_call(*args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        bound = signature.bind(*args, **kwargs)
        is_asked = bound.arguments.get("return_attention_scores")
        bound.arguments["return_attention_scores"] = True
        results = call(*bound.args, **bound.kwargs)
        return (results if is_asked else results[0]), results[1]

    return "call", run_call


def _has_weights(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, (AttentionDecoder, Seq2SeqModel))
        or "return_attention_scores" in inspect.signature(layer.call).parameters
    )


def _find(model: keras.Model, layer: str | keras.layers.Layer) -> keras.layers.Layer:
    """Returns the layer of this name. For the attention layer in a decoder, returns the decoder."""
    layers = list({id(part): part for part in model._flatten_layers()}.values())
    found = [part for part in layers if part is layer or part.name == layer]
    if len(found) == 1:
        owners = [part for part in layers if isinstance(part, AttentionDecoder)]
        owner = next((part for part in owners if part.attention is found[0]), found[0])
        if _has_weights(owner):
            return owner
    given = repr(layer if isinstance(layer, str) else layer.name)
    names = [part.name for part in layers if _has_weights(part)]
    if len(found) > 1:
        problem = f"a name of {len(found)} layers of '{model.name}'; expected the layer itself."
    elif not found:
        problem = f"no layer of '{model.name}'; expected one of {names}."
    else:
        problem = f"a layer without attention weights; expected one of {names}."
    raise ValueError(f"`layer` is {given}, {problem}")


def _inputs(model: keras.Model) -> Any:
    """Returns symbolic inputs in the structure that `model` is called with."""
    if isinstance(model, Seq2SeqModel) and model.built:
        return tuple(
            keras.Input(batch_shape=spec.shape, dtype=spec.dtype, name=spec.name)
            for spec in model.input_specs()
        )
    if isinstance(model, keras.Sequential) and model.built:
        (first,) = model.inputs
        return keras.Input(first.shape[1:], dtype=first.dtype, name=first.name)
    if getattr(model, "inputs", None):
        return model.input
    raise ValueError(
        f"`model` is '{model.name}', whose inputs are not known; expected a functional model, or a "
        "sequential one or one of `ka.models` that was called or built."
    )
