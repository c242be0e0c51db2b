"""The training step of a translator: forward, backward, Adam; teacher forcing."""

from benchmarks.case import Case, Comparison, Contender, difference
from benchmarks.training_step import problem

_DECODER = {"joeynmt": "attentional_vector"}  # Everyone else's is Bahdanau's.


def _compare(sizes, outputs):
    expected = {name: problem.reference(sizes, name) for name in ("bahdanau", "attentional_vector")}
    return [
        Comparison(
            f"{name}: {output} against NumPy",
            difference(values[output], expected[_DECODER.get(name, "bahdanau")][output]),
            tolerance=1e-5,
        )
        for name, values in outputs.items()
        for output in ("loss", "logits")
    ]


def _ours(name, **options):
    return Contender(name, "keras_attention", "keras_attention_worker", "ours", options)


def _tfa(name, **options):
    return Contender(name, "tfa", "tfa_worker", "tfa", options)


def _floor(library):
    return Contender(
        f"GEMMs alone, {library}", "GEMMs", "floor_worker", "ours", {"library": library}
    )


CASE = Case(
    title="Training step of a translator with Bahdanau attention",
    points=(
        {"width": 256, "vocabulary": 8000, "batch": 64, "source_steps": 20, "target_steps": 20},
    ),
    contenders=(
        _ours("keras_attention", jit_compile=False),
        _ours("keras_attention, XLA", jit_compile=True),
        _tfa("tfa, head as output_layer", jit_compile=False, head_in_loop=True),
        _tfa("tfa, head after the loop", jit_compile=False, head_in_loop=False),
        _tfa("tfa, head after the loop, XLA", jit_compile=True, head_in_loop=False),
        Contender("joeynmt", "joeynmt", "joeynmt_worker", "joeynmt"),
        _floor("numpy"),
        _floor("tensorflow"),
    ),
    unit=("target tokens", lambda sizes: sizes["batch"] * sizes["target_steps"]),
    compare=_compare,
    floor="GEMMs",
)
