"""One step forward and backward on whatever Keras runs on: TensorFlow, JAX or PyTorch.

A step is a function without arguments that returns the output and the gradients, of the inputs and
then of the weights, when the device is done with them.
"""

import keras
import numpy as np
from keras import ops


def processor() -> str:
    """Returns Keras's name of the processor."""
    # On PyTorch, a variable that is made on "cpu:0" is a copy of one on "cpu", and no parameter.
    return "cpu" if keras.backend.backend() == "torch" else "cpu:0"


def accelerator() -> str | None:
    """Returns Keras's name of the first GPU, or None."""
    if keras.backend.backend() == "torch":
        import torch

        return "cuda" if torch.cuda.is_available() else None
    try:
        return next(iter(keras.distribution.list_devices("gpu")), None)
    except RuntimeError:  # So JAX says that there is none.
        return None


def in_full_float32():
    """Makes matrix products as exact as on a processor; GPUs round their factors to 10 bits."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
    elif backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    else:
        import torch

        torch.set_float32_matmul_precision("highest")


def gradient_step(layer, inputs, upstream, options, jit, device):
    """Returns a step of a built layer: `layer(*inputs, **options)` and gradients.

    The loss is the sum of the output times `upstream`. PyTorch has no jit here.
    """
    makers = {"tensorflow": _tensorflow_step, "jax": _jax_step, "torch": _torch_step}
    with keras.device(device):
        arrays = [ops.convert_to_tensor(each) for each in (*inputs, upstream)]
        return makers[keras.backend.backend()](layer, arrays, options, jit, device)


def compiled(function, inputs, jit, device):
    """Returns a step of a function of tensors without gradients; its results."""
    backend = keras.backend.backend()
    with keras.device(device):
        arrays = [ops.convert_to_tensor(each) for each in inputs]
    if backend == "tensorflow":
        import tensorflow as tf

        run = tf.function(function, jit_compile=jit, autograph=False)
    elif backend == "jax" and jit:
        import jax

        run = jax.jit(function)
    else:
        run = function

    def step():
        with keras.device(device):
            return _done(run(*arrays))

    return step


def to_numpy(results) -> list[np.ndarray]:
    """Returns the arrays of a nest."""
    return [ops.convert_to_numpy(each) for each in keras.tree.flatten(results)]


def _tensorflow_step(layer, arrays, options, jit, device):
    import tensorflow as tf

    *inputs, upstream = arrays
    variables = [weight.value for weight in layer.trainable_weights]

    @tf.function(jit_compile=jit, autograph=False)
    def run(inputs, upstream):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = layer(*inputs, **options)
            loss = tf.reduce_sum(output * upstream)
        return output, tape.gradient(loss, [*inputs, *variables])

    def step():
        with keras.device(device):
            return _done(run(inputs, upstream))

    return step


def _jax_step(layer, arrays, options, jit, device):
    import jax

    *inputs, upstream = arrays
    weights = [weight.value for weight in layer.trainable_variables]
    others = [weight.value for weight in layer.non_trainable_variables]

    def loss(inputs, weights, upstream):
        output, _ = layer.stateless_call(weights, others, *inputs, **options)
        return ops.sum(output * upstream), output

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    gradient = jax.jit(gradient) if jit else gradient

    def step():
        (_, output), (of_inputs, of_weights) = gradient(inputs, weights, upstream)
        return _done((output, [*of_inputs, *of_weights]))

    return step


def _torch_step(layer, arrays, options, jit, device):
    import torch

    *inputs, upstream = arrays
    inputs = [each.requires_grad_() for each in inputs]
    weights = [weight.value for weight in layer.trainable_weights]

    def step():
        with keras.device(device):
            output = layer(*inputs, **options)
            gradients = torch.autograd.grad((output * upstream).sum(), [*inputs, *weights])
            return _done((output.detach(), list(gradients)))

    return step


def _done(results):
    """Waits for the device."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.block_until_ready(results)
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            tf.test.experimental.sync_devices()
    return results
