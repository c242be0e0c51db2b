"""A step forward and backward: of Keras layers on any backend, of TensorFlow or PyTorch alone."""

import numpy as np

from benchmarks.case import Work


class Problem:
    """Arrays that everyone starts from, by shape. The loss is sum(output * upstream)."""

    def __init__(self, inputs: dict, output: tuple[int, ...], weights: dict):
        draw = np.random.default_rng(0).standard_normal
        self.shapes = list(inputs.values())
        self.inputs = {name: draw(each, "float32") for name, each in inputs.items()}
        self.upstream = draw(output, "float32")
        roots = {name: np.float32(each[0] ** 0.5) for name, each in weights.items()}
        self.weights = {n: draw(each, "float32") / roots[n] for n, each in weights.items()}


def gradient_work(function, variables, problem, options, compared=None) -> Work:
    """Returns the work of `function(*inputs)` and the gradients of all inputs and variables.

    Keras variables get the problem's weights, in the same order. The first `compared` gradients are
    compared. With `options["backward"]` False there are none.
    """
    inputs = list(problem.inputs.values())
    upstream = problem.upstream if options.get("backward", True) else None
    framework = type(variables[0]).__module__.split(".")[0]
    if framework == "keras":
        import keras

        framework = keras.backend.backend()
        for variable, weight in zip(variables, problem.weights.values(), strict=True):
            variable.assign(np.reshape(weight, variable.shape))
        variables = variables if framework == "jax" else [each.value for each in variables]
    steps = {"tensorflow": _tensorflow_step, "jax": _jax_step, "torch": _torch_step}
    jit_compile = options.get("jit_compile", False)
    step = steps[framework](function, variables, inputs, upstream, jit_compile)

    def outputs():
        output, gradients = step()
        arrays = list({**problem.inputs, **problem.weights}.items())[:compared]
        named = {
            f"{name} gradient": np.reshape(_to_numpy(gradient), array.shape)
            for (name, array), gradient in zip(arrays, gradients, strict=False)
        }
        return {"output": _to_numpy(output), **named}

    return Work(step, outputs)


def _tensorflow_step(function, variables, inputs, upstream, jit_compile):
    import tensorflow as tf

    inputs = [tf.constant(each) for each in inputs]
    upstream = None if upstream is None else tf.constant(upstream)
    on_gpu = bool(tf.config.list_physical_devices("GPU"))

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(inputs, upstream):
        if upstream is None:
            return function(*inputs), []
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = function(*inputs)
            loss = tf.reduce_sum(output * upstream)
        return output, tape.gradient(loss, [*inputs, *variables])

    def step():
        results = run(inputs, upstream)
        if on_gpu:
            tf.test.experimental.sync_devices()
        return results

    return step


def _jax_step(function, variables, inputs, upstream, jit_compile):
    import jax
    import keras

    def loss(inputs, values, upstream):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            output = function(*inputs)
        return (output * upstream).sum(), output

    def run(inputs, values, upstream):
        if upstream is None:
            return function(*inputs), []
        differentiate = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        (_, output), (d_inputs, d_values) = differentiate(inputs, values, upstream)
        return output, [*d_inputs, *d_values]

    run = jax.jit(run) if jit_compile else run
    arguments = jax.device_put((inputs, [variable.value for variable in variables], upstream))

    def step():
        return jax.block_until_ready(run(*arguments))

    step.lower = lambda: jax.jit(run).lower(*arguments)  # For what `roofline` counts.
    return step


def _torch_step(function, variables, inputs, upstream, jit_compile):
    import torch

    device, backward = variables[0].device, upstream is not None
    inputs = [torch.tensor(each, device=device, requires_grad=backward) for each in inputs]
    upstream = torch.tensor(upstream, device=device) if backward else None

    def step():
        output, gradients = function(*inputs), []
        if backward:
            loss = (output * upstream).sum()
            gradients = torch.autograd.grad(loss, [*inputs, *variables])
        if device.type == "cuda":
            torch.cuda.synchronize()
        return output.detach(), gradients

    return step


def _to_numpy(tensor):
    return np.asarray(tensor.cpu() if type(tensor).__module__ == "torch" else tensor)
