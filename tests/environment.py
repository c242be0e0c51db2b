"""Environment variables of the tests, which backends read when they start."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Compiling is most of what tests on JAX do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Without a distribution all runs on the first device. XLA makes of a graph what it always does, but
# LLVM does not optimize the machine code of it, which runs for milliseconds only.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
)
# Threads wait for work by turning on the spot: for arrays as small as those of tests, one is less.
for threads in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
