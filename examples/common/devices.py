"""Training on several devices, by the engines that Keras has for them.

TensorFlow: `tf.distribute.MirroredStrategy` over the GPUs of one machine. JAX:
`keras.distribution.DataParallel` over all devices of all processes, which find each other by
the environment variables of `keras.distribution.initialize`. PyTorch: one device.
"""

import contextlib
import os
import subprocess
import sys
import traceback
from contextlib import AbstractContextManager
from typing import final

import keras
import tensorflow as tf

from examples.common.errors import UserError

BACKEND = keras.backend.backend()
SEVERAL = "KERAS_DISTRIBUTION_NUM_PROCESSES"
ENDED = (
    "error: another process of this training has ended: start all of them again, and they go on "
    "from the last checkpoint"
)


def leave_gpus_to_keras() -> None:
    """Where Keras computes with another backend, TensorFlow needs no GPU for text and data."""
    if BACKEND != "tensorflow":
        tf.config.set_visible_devices([], "GPU")


@contextlib.contextmanager
def joined():
    """In it this process trains, with the other processes of the training if there are any.

    On an error a process that has joined others ends at once: then their next step fails, and they
    end too. Otherwise each would wait for all at its end.
    """
    leave_gpus_to_keras()
    if SEVERAL not in os.environ:
        yield
        return
    if BACKEND != "jax":
        raise UserError(
            f"{SEVERAL} is set: expected KERAS_BACKEND=jax, which several processes need"
        )
    import jax

    _shorten_last_words()
    try:
        print(f"waiting for all {os.environ[SEVERAL]} processes of this training", flush=True)
        try:
            keras.distribution.initialize()
        except (ValueError, TypeError) as error:
            raise UserError(f"KERAS_DISTRIBUTION_*: cannot be understood ({error})") from None
        if jax.process_index():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the first process reports
        yield
    except BaseException as error:
        code = getattr(error, "exit_code", 2)  # of Ctrl-C, which is told already
        if isinstance(error, jax.errors.JaxRuntimeError) and "EXHAUSTED" not in str(error):
            message = ENDED  # unless it is this one's memory
        elif isinstance(error, UserError | OSError):
            message = f"error: {error}"
        else:
            message = traceback.format_exc()
        if code == 2:
            os.write(2, f"{message}\n".encode(errors="surrogateescape"))
        sys.stdout.flush()
        os._exit(code)


def _shorten_last_words() -> None:
    """Leaves one line of all that is written when another process has died.

    JAX aborts if that was the first process, with many lines, before or after an error is raised.
    """
    script = f"/JAX distributed service\\|^{ENDED}/{{s/.*/{ENDED}/; p; :a; n; ba}}; p"
    stderr = os.dup(2)
    sys.stderr = os.fdopen(stderr, "w", buffering=1)
    # What is written to 2 goes through the filter, which outlives the process, and Ctrl-C.
    options = {"stdin": subprocess.PIPE, "stdout": stderr, "start_new_session": True}
    sed = subprocess.Popen(["sed", "-un", script], **options)
    os.dup2(sed.stdin.fileno(), 2)


def processes() -> tuple[int, int]:
    """The number of this process and how many there are."""
    if BACKEND != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def scope() -> AbstractContextManager:
    """In it a model is made and trained, on all devices; on TensorFlow, on all GPUs.

    Of each batch they compute a part each. A strategy in whose scope this is called stays.
    """
    if BACKEND == "jax" and len(devices := keras.distribution.list_devices()) > 1:
        return keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope()
    several = BACKEND == "tensorflow" and len(tf.config.list_logical_devices("GPU")) > 1
    if several and not tf.distribute.has_strategy():
        return tf.distribute.MirroredStrategy().scope()
    return contextlib.nullcontext()


def count() -> int:
    """On how many devices a model is trained in the scope."""
    distribution = keras.distribution.distribution()  # of JAX only
    if distribution:
        return distribution.device_mesh.devices.size
    return tf.distribute.get_strategy().num_replicas_in_sync


@contextlib.contextmanager
def first_process_first():
    """A block that the first process ends before the others begin it, who find its files."""
    number, all_processes = processes()
    wait = _barrier if all_processes > 1 else lambda: None
    if number:
        wait()
    yield
    if not number:
        wait()


def _barrier() -> None:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("files")


def share(batches: tf.data.Dataset) -> tf.data.Dataset:
    """What this process is to train on, of batches (x, y) with tokens or 0 in y.

    All processes read the same batches, since they need the same shapes, and each keeps its rows
    of them. Rows of zeros make them divide. On TensorFlow, where each replica computes a mean over
    its own tokens, weights make of these the mean over the whole batch.
    """
    parts, (number, all_processes) = count(), processes()
    if parts == 1:
        return batches

    def split(x, y):
        def fill(tensor):
            missing = -tf.shape(tensor)[0] % parts
            return tf.pad(tensor, [[0, missing]] + [[0, 0]] * (tensor.shape.rank - 1))

        x, y = tf.nest.map_structure(fill, (x, y))
        if BACKEND == "tensorflow":
            tokens = tf.math.count_nonzero(tf.reshape(y, (parts, -1)), axis=1, dtype=tf.float32)
            weights = tf.math.divide_no_nan(tokens, tf.reduce_mean(tokens))
            return x, y, tf.repeat(weights, tf.shape(y)[0] // parts)
        size = tf.shape(y)[0] // all_processes
        return tf.nest.map_structure(lambda t: t[number * size : (number + 1) * size], (x, y))

    return batches.map(split)


@final
class Adam(keras.optimizers.Adam):
    """Adam that clips the gradient of the whole batch, where Keras clips that of each replica."""

    def _clip_gradients(self, grads):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas == 1:
            return super()._clip_gradients(grads)
        whole = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, [tf.convert_to_tensor(grad) for grad in grads]
        )
        return [grad / replicas for grad in super()._clip_gradients(whole)]  # to be added up again
