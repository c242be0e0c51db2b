"""Every test starts from the same seed and leaves Keras's global settings as it found them."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Compiling is most of what tests on JAX do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import keras
import pytest

try:
    import hypothesis
except ImportError:  # tests/backends runs without
    pass
else:
    # Drawing the same cases in every run keeps a failure reproducible.
    hypothesis.settings.register_profile(
        "repeatable", deadline=None, derandomize=True, max_examples=50, database=None
    )
    hypothesis.settings.load_profile("repeatable")

# On TensorFlow the whole suite runs, which holds all that is in there.
collect_ignore = ["backends"] if keras.backend.backend() == "tensorflow" else []


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(20150119)
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx(floatx)
