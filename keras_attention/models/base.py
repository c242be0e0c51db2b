"""Models that end in a head over a vocabulary."""

import abc
import os
import weakref
from collections.abc import Callable
from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.keras_masks import copy_keras_mask
from keras_attention._internal.one_step import call_on_step
from keras_attention._internal.serialization import build_once, serialize, sharing_scope
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Shape, Tensor
from keras_attention.losses.crossentropy_loss import HeadOutput, LinearCrossentropy

_INPUT = keras.layers.InputLayer


class Seq2SeqModel(SavedSublayers, keras.Model, abc.ABC):
    """Abstract: a model whose last layer, `head`, maps features (B, T, D) to logits (B, T, V).

    If the model is compiled with `ka.losses.LinearCrossentropy`, it passes the features to that
    loss, so that no logits are stored.
    """

    encoder: keras.layers.Layer
    target_embedding: keras.layers.Layer
    head: Callable

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._features = _FeatureCache()

    def apply_head(self, features: Tensor) -> Tensor:
        """Returns the head's logits. `compute_loss` can find the features that they came from."""
        logits = copy_keras_mask(features, self.call_head(features))
        self._features.set(logits, features)
        return logits

    def call_head(self, features: Tensor) -> Tensor:
        """Returns the logits of features (B, T, D)."""
        if isinstance(self.head, keras.layers.ReversibleEmbedding):
            return self.head(features, reverse=True)
        if not getattr(self.head, "supports_masking", False):
            features = ops.copy(features)  # without the Keras mask, for which the head would warn
        return self.head(features)

    def call_head_of_step(self, features: Tensor) -> Tensor:
        """Returns the logits (B, V) of one step (B, D)."""
        if isinstance(self.head, keras.layers.ReversibleEmbedding):
            return self.head(features, reverse=True)
        return call_on_step(self.head, features)

    def build_head(self, features_shape: Shape) -> None:
        """Builds the head for features of this shape, unless it is a function."""
        if isinstance(self.head, keras.layers.ReversibleEmbedding):
            validation.equal(
                *("head", self.head.output_dim, "decoder", features_shape[-1], "width")
            )
            build_once(self.head)
        elif isinstance(self.head, keras.layers.Layer):
            build_from_spec(self.head, keras.KerasTensor(features_shape, self.compute_dtype))

    def make_train_function(self, force: bool = False) -> Any:
        """Also makes the optimizer's variables, if the model is built.

        TensorFlow traces a function twice if the first trace makes variables.
        """
        optimizer, weights = getattr(self, "optimizer", None), self.trainable_variables
        if self.built and weights and optimizer is not None and not optimizer.built:
            optimizer.build(weights)
        return super().make_train_function(force)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        features = self._features.get(y_pred)
        if features is not None and isinstance(self.loss, LinearCrossentropy):
            y_pred = HeadOutput(y_pred, features, self.head, training)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def input_specs(self) -> tuple[keras.layers.InputSpec, keras.layers.InputSpec]:
        """Returns the specs of source and target of a built model, for any batch size and length.

        Tokens are int32. Inputs with more axes than (B, S) are numbers. Their dtype is that of the
        model's weights, or the integer dtype that a functional encoder declares. The height and
        width of maps are fixed.
        """
        source, target = split_inputs(self.get_build_config()["input_shape"])
        dtype = self.variable_dtype
        return (
            _input_spec(self.encoder, source, dtype, "source"),
            _input_spec(self.target_embedding, target, dtype, "target"),
        )

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Keras's export, whose `input_signature` defaults to `input_specs`."""
        if input_signature is None and self.built:
            input_signature = [self.input_specs()]
        super().export(filepath, format, verbose, input_signature, **kwargs)


def _input_spec(
    layer: keras.layers.Layer, shape: Shape, dtype: str, name: str
) -> keras.layers.InputSpec:
    """Returns what `layer` takes. Keras records the shape of one call, and no dtype."""
    declared = getattr(layer, "inputs", None)
    if declared and not keras.backend.is_float_dtype(declared[0].dtype):
        dtype = declared[0].dtype
    elif len(shape) == 2:
        dtype = "int32"  # also where an `Input` for tokens has the default dtype, float32
    free = 2 if len(shape) < 4 else 1
    return keras.layers.InputSpec(shape=(*[None] * free, *shape[free:]), dtype=dtype, name=name)


def split_inputs(inputs: Any) -> tuple[Any, Any]:
    """Returns source and target of a model's inputs, or of their shapes."""
    if isinstance(inputs, dict) and set(inputs) == {"source", "target"}:
        return inputs["source"], inputs["target"]
    is_pair = isinstance(inputs, (list, tuple)) and len(inputs) == 2
    if is_pair and not isinstance(inputs[0], int | None):  # not one shape of rank 2
        return inputs[0], inputs[1]
    given = f"a dict of {sorted(inputs)}" if isinstance(inputs, dict) else f"{inputs!r}"
    raise ValueError(
        f"`inputs` is {given}; expected (source, target), or a dict of 'source' and 'target'."
    )


def convert_inputs(model: Seq2SeqModel, inputs: Any) -> list[Tensor]:
    """Returns source and target as tensors, for which it builds the model if need be.

    Not inside a call in training: there Keras would build a Sequential that always trains.
    """
    source, target = map(ops.convert_to_tensor, split_inputs(inputs))
    if not model.built:
        model.build([source.shape, target.shape])
    return [source, target]


def serialize_parts(model: Seq2SeqModel, *names: str) -> dict:
    """Returns the configs of the parts of a model, which may share layers."""
    if not isinstance(model.head, keras.layers.Layer):
        raise ValueError(
            f"`head` is {model.head!r}, a function, which is not saved with the model; expected a "
            "layer, such as a keras.layers.ReversibleEmbedding for tied weights."
        )
    with sharing_scope():
        return {name: keras.tree.map_structure(serialize, getattr(model, name)) for name in names}


def build_from_spec(layer: keras.layers.Layer, spec: Any) -> Any:
    """Builds a layer for inputs of this spec, a KerasTensor; returns the specs of its outputs.

    A layer of one's own often has a `call` alone. It is then traced, which builds what is in it.
    """
    has_build = type(layer).build is not keras.layers.Layer.build
    if not layer.built and has_build:
        if type(layer) is keras.Sequential and not isinstance(layer._layers[0], _INPUT):
            # Keras would take the compute dtype for that of the tokens: no float16 holds 3,001.
            layer._layers = [_INPUT(batch_shape=spec.shape, dtype=spec.dtype), *layer._layers]
        layer.build(spec.shape)
    return layer.compute_output_spec(spec)


def token_or_value_spec(shape: Shape) -> keras.KerasTensor:
    """Returns the spec of a source or target: tokens (B, T), or numbers with more axes."""
    return keras.KerasTensor(shape, dtype="int32" if len(shape) == 2 else "float32")


@final
class _FeatureCache:
    """The features of the latest logits, until these are deleted.

    Keras passes nothing but the logits from the call to the loss.
    """

    def __init__(self) -> None:
        self._logits: weakref.ref[Any] | None = None
        self._features: Tensor = None

    def set(self, logits: Tensor, features: Tensor) -> None:
        self._logits, self._features = weakref.ref(logits, self._clear), features

    def get(self, logits: Tensor) -> Tensor:
        return None if self._logits is None or self._logits() is not logits else self._features

    def _clear(self, reference: Any) -> None:
        self._logits = self._features = None
