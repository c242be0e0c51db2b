"""The Neural Turing Machine, one number at a time, for one sequence (Graves 2014, section 3)."""

import math

import numpy as np


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def _softmax(row):
    powers = [math.exp(x - max(row)) for x in row]
    return [power / sum(powers) for power in powers]


def _softplus(x):
    return math.log1p(math.exp(x))


def _cosine(u, v):
    product, u_squared, v_squared = 0.0, 0.0, 0.0
    for a, b in zip(u, v, strict=True):
        product, u_squared, v_squared = product + a * b, u_squared + a * a, v_squared + b * b
    return product / (math.sqrt(u_squared) * math.sqrt(v_squared))


def address(parameters, previous, memory):
    """Eq. 5-9: the weights of one head, from its k, beta, g, s and gamma."""
    width, locations = memory.shape[1], len(memory)
    ends = [width, width + 1, width + 2, len(parameters) - 1]
    key, strength, gate, shifts, gamma = np.split(parameters, ends)
    strength = _softplus(strength[0])
    content = _softmax([strength * _cosine(key, row) for row in memory])
    gate = _sigmoid(gate[0])
    gated = [gate * c + (1 - gate) * p for c, p in zip(content, previous, strict=True)]
    shifts, shift_range = _softmax(shifts), len(shifts) // 2
    shifted = np.zeros(locations)
    for i in range(locations):
        for j in range(locations):
            for k in range(-shift_range, shift_range + 1):
                if (i - j - k) % locations == 0:
                    shifted[i] += gated[j] * shifts[shift_range + k]
    gamma = 1 + _softplus(gamma[0])
    powers = [weight**gamma for weight in shifted]
    return np.array([weight / sum(powers) for weight in powers])


def machine(controller, writers, readers, inputs, mask, memory, width):
    """Outputs (T, width) of one sequence (T, D), and the state after it.

    `controller(x, states)` returns (h, states), with states None at first. A writer or reader maps
    h to the parameters of a head, those of a writer ending with e and a. All heads start at
    location 0. A masked step keeps the state and outputs zeros. The state is a list of the last
    output, the controller's states, the weights of all heads and the memory.
    """
    locations, columns = memory.shape
    at = [np.eye(locations)[0] for _ in writers + readers]
    output, states, outputs = np.zeros(width), None, []
    for x, is_step in zip(inputs, mask, strict=True):
        vectors = output[width - len(readers) * columns :]
        hidden, next_states = controller(np.concatenate([x, vectors]), states)
        memory_now, at_now, adds = memory.copy(), [], []
        for emit, before in zip(writers, at[: len(writers)], strict=True):
            parameters, erase, add = np.split(emit(hidden), [-2 * columns, -columns])
            weights = address(parameters, before, memory)
            for i, j in np.ndindex(memory.shape):
                memory_now[i, j] *= 1 - weights[i] * _sigmoid(erase[j])
            adds.append((weights, add))
            at_now.append(weights)
        for weights, add in adds:
            for i, j in np.ndindex(memory.shape):
                memory_now[i, j] += weights[i] * math.tanh(add[j])
        read = []
        for emit, before in zip(readers, at[len(writers) :], strict=True):
            weights = address(emit(hidden), before, memory_now)
            for j in range(columns):
                read.append(sum(weights[i] * memory_now[i, j] for i in range(locations)))
            at_now.append(weights)
        if is_step:
            output, states = np.concatenate([hidden, read]), next_states
            memory, at = memory_now, at_now
        outputs.append(output if is_step else np.zeros(width))
    return np.stack(outputs), [output, states, at, memory]
