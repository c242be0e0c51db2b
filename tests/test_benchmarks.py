"""The benchmarks' machinery, without peers and without times that have to be short."""

import json
import math
import sys
import types

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import (
    bars,
    case,
    environments,
    hlo_count,
    measure,
    report,
    roofline,
    run,
    steps,
    worker,
)
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender
from benchmarks.cases import first_step, import_time, input_pipeline, training_step
from benchmarks.flickr8k import __main__ as flickr8k
from benchmarks.flickr8k import table
from examples.captioning import scoring
from examples.captioning.cli import app
from examples.captioning.config import Config
from examples.captioning.data import Picture, to_json

MIB = 2**20
CASES = case.load_all()


def row(peer, seconds, extra=MIB, **options):
    turns = [{"seconds": [s, s], "processor_seconds": [s]} for s in map(float, seconds)]
    return {
        "peer": peer,
        "options": options,
        "extra": {"before": 100 * MIB, "peak": 100 * MIB + extra},
        "memory": {"peak": 300 * MIB, "imports": 200 * MIB},
        **measure.summary(turns, units=10),
    }


def point(rows, ours="ours", **sizes):
    comparison = case.comparison("a: x against b", 1e-7, 1e-5)
    head = {"sizes": sizes, "unit": "things", "ours": ours, "floor": None}
    return measure.add_time_ratios({**head, "comparisons": [comparison], "rows": rows})


def made_up():
    """Ours is 3 times as fast in every round, whatever the machine's load, at its better half."""
    load = np.array([1.0, 5.0, 2.0])
    return point(
        {
            "slow": row("ours", 0.25 * load, extra=8 * MIB, jit=False),
            "fast": row("ours", 0.1 * load, extra=2 * MIB, jit=True),
            "theirs": row("peer", 0.3 * load, extra=10 * MIB, jit=False),
            "theirs, worse": row("peer", 0.5 * load, extra=MIB, jit=True),
            "broken": {"peer": "peer", "options": {"jit": False}, "error": "failed: a reason"},
        },
        length=4,
    )


def test_quotients_are_those_of_rounds_between_the_fastest_configurations():
    points = [made_up()]
    assert bars.speedup("peer")(points) == pytest.approx(3)
    assert bars.time_ratio("peer")(points) == pytest.approx(1 / 3)
    assert bars.speedup("peer", jit=False)(points) == pytest.approx(0.3 / 0.25)
    assert bars.memory_ratio("peer")(points) == pytest.approx(2 / 10)
    assert bars.memory_ratio("peer", jit=False)(points) == pytest.approx(8 / 10)
    rows = points[0]["rows"]
    assert rows["theirs"]["times_ours"] == pytest.approx(3)
    assert rows["theirs, worse"]["times_ours_range"] == pytest.approx([5, 5])


def test_the_least_speedup_is_that_of_the_worst_of_all_points():
    slow = point({"a": row("ours", [2.0], jit=False), "b": row("peer", [3.0], jit=False)}, length=5)
    points = [made_up(), slow]
    assert bars.least_speedup("peer")(points) == pytest.approx(1.5)
    assert bars.least_speedup("peer", jit=False)(points) == pytest.approx(0.3 / 0.25)
    assert bars.least_speedup("peer", {"length": 4})(points) == pytest.approx(3)
    for missing in ({"at": {"length": 6}}, {"jit": True}):  # `slow` has no row with it.
        with pytest.raises(bars.Missing):
            bars.least_speedup("peer", **missing)(points)


@pytest.mark.parametrize(("peer", "at"), [("peer", {"length": 5}), ("nobody", None)])
def test_what_was_not_measured_is_not_met(peer, at):
    result = Bar("x", bars.speedup(peer, at), at_least=0).result([made_up()])
    assert result["measured"] is None
    assert result["met"] is False


def test_bars_have_one_side_which_counts_as_met():
    points, measured = [made_up()], bars.speedup("peer")
    for limit, at_least, at_most in ((2.9, True, False), (3.1, False, True)):
        assert Bar("x", measured, at_least=limit).result(points)["met"] is at_least
        assert Bar("x", measured, at_most=limit).result(points)["met"] is at_most
    assert Bar("x", measured).result(points)["met"] is None


def test_an_exponent_is_not_flattened_by_what_a_process_takes_anyway():
    lengths = [2**power for power in range(9, 15)]

    def grown(extra):
        rows = [{"ours": row("ours", [1.0], extra=extra(length))} for length in lengths]
        return [point(each, length=length) for each, length in zip(rows, lengths, strict=True)]

    exponent = bars.memory_exponent("ours")
    assert exponent(grown(lambda length: 10000 * length)) == pytest.approx(1)
    assert exponent(grown(lambda length: length**2)) == pytest.approx(2)
    assert exponent(grown(lambda length: 50 * MIB + 4 * length**2)) > 1.5
    missing = grown(lambda length: length)
    del missing[-1]["rows"]["ours"]
    with pytest.raises(bars.Missing):
        exponent(missing)


def test_outputs_of_padding_are_not_compared():
    each = CASES["self_attention_sizes"]
    sizes = {**each.points[0], **each.trial}
    ones, other = np.ones((3, 7, 10)), np.ones((3, 7, 10))
    for where, agrees in (((2, -1), True), ((0, -1), False)):  # The last one ends in padding.
        other[where] = 5
        outputs = {"a": {"output": ones}, "b": {"output": other}}
        assert each.compare(sizes, outputs)[0]["agrees"] is agrees


def test_outputs_are_compared_with_the_first_ones():
    outputs = {
        "a": {"x": np.array([1.0, 200.0]), "x gradient": np.array([1.0]), "more": np.zeros(3)},
        "b": {"x": np.array([1.0, 200.001]), "x gradient": np.array([1.00005])},
    }
    agree = [each["agrees"] for each in case.compare_with_first({}, outputs)]
    assert agree == [True, True]
    for wrong in ([1.0, 200.1], [math.nan, 200.0], [1.0]):
        outputs["b"]["x"] = np.array(wrong)
        assert not case.compare_with_first({}, outputs)[0]["agrees"]
    with pytest.raises(measure.OutputsDiffer, match="b: x against a"):
        measure.compare_outputs(CASES["additive"], {}, outputs)
    assert case.compare_with_first({}, {}) == []


def test_a_search_that_stops_early_is_no_search():
    whole = {"tokens": np.full((2, 3), 7), "scores": np.ones(2)}
    early = {"tokens": np.array([[7, 7, 7], [7, 3, 0]]), "scores": np.ones(2)}
    comparisons = CASES["beam_search"].compare({}, {"a": whole, "b": early, "c": whole})
    agree = {each["what"]: each["agrees"] for each in comparisons}
    assert [what for what, agrees in agree.items() if not agrees] == [
        "b: takes all steps",
        "b: tokens against a",
    ]


def results():
    points = [made_up()]
    asked = (
        Bar("fast enough", bars.speedup("peer"), at_least=2),
        Bar("small", lambda points: 2.0, at_most=1, unit="MiB"),
        Bar("a share", bars.time_ratio("peer")),
    )
    head = {"case": "made_up", "title": "Made up", "error": None, "points": points}
    head["bars"] = [bar.result(points) for bar in asked]
    return {
        "machine": {"processor": "A processor", "threads": 2, "load": 0.1},
        "cases": [{**head, "against": against} for against in (None, "length")],
    }


def test_the_summary_says_what_was_asked_and_measured():
    text = report.summary(results())
    assert "| made_up | fast enough | at least 2 | 3 | met |" in text
    assert "| made_up | small | at most 1 MiB | 2 MiB | **not met** |" in text
    assert "| made_up | a share | reported | 0.333 |  |" in text
    assert "Not for quoting" not in text
    busy = results()
    busy["machine"]["load"] = 3.2
    assert "Not for quoting" in report.summary(busy)


def test_tables_have_a_row_for_everyone_and_say_why_one_is_missing():
    text = report.tables(results())
    row = "| theirs | 600 (375 to 1275) | 600 | 16.7 | 3.00 (3.00 to 3.00) | 10 | 300 (200) |"
    assert row in text
    assert "| broken | failed: a reason |" in text
    assert "| fast | 0.2; 2 |" in text
    assert "differs most: a: x against b, by 1.0e-07 (allowed 1e-05)" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {8, 3}


def test_a_page_keeps_its_own_words(tmp_path):
    path = tmp_path / "page.md"
    summary = f"{report.SUMMARY}\nold\n{report.END_OF_SUMMARY}"
    path.write_text(f"# Title\n\n{summary}\n\nwords\n\n{report.TABLES}\n\nold tables\n")
    for _ in range(2):  # a second time changes nothing
        report.put_into_page(results(), path)
        text = path.read_text()
        assert text.startswith(f"# Title\n\n{report.SUMMARY}\n")
        assert f"{report.END_OF_SUMMARY}\n\nwords\n\n{report.TABLES}\n" in text
        assert "old" not in text
        assert text.count("fast enough") == 2
    picture = tmp_path / "pictures" / "benchmarks" / "made_up.svg"
    assert "extra memory, MiB" in picture.read_text()
    report.write(results(), tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["cases"][0]["bars"][0]["met"]


@pytest.mark.parametrize("name", CASES)
def test_a_case_whose_outputs_differ_has_no_times_and_meets_nothing(name, monkeypatch):
    def differing(*arguments):
        raise measure.OutputsDiffer("no times, because outputs differ: x")

    monkeypatch.setattr(measure, "measure", differing)
    measured = run.run_case(name, CASES[name], types.SimpleNamespace(trial=False))
    assert not any(bar["met"] for bar in measured["bars"])
    text = report.tables({"cases": [measured]})
    assert "outputs differ: x" in text
    assert "ms" not in text


_held = []  # What the first of all steps brings along.


def hold_memory(options):
    held = np.ones(40 * MIB // 8)

    def step():
        if not _held:
            _held.append(np.ones(300 * MIB // 8))
        return np.ones(options["size"] * MIB // 8) + held[0]

    return case.Work(step)


def tell_seven_seconds(options):
    return case.Work(lambda: case.Timing(7))


def tell_both_seconds(options):
    return case.Work(lambda: case.Timing(7, 11))


def session(function, **options):
    options = {"memory_limit": 0, "imports": ["json"], **options}
    started = worker.Session(__name__, function.__name__, options)
    assert "json" in started.setup()["versions"]
    return started


def test_a_worker_tells_the_memory_of_its_first_steps():
    started = session(hold_memory, size=64)
    answer = started.first_steps(small={"size": 1})
    assert 60 * MIB < answer["peak"] - answer["before"] < 200 * MIB
    assert started.memory()["peak"] >= answer["peak"]


def test_a_step_may_tell_its_own_seconds_and_a_turn_ends_by_the_clock():
    started = session(tell_seven_seconds)
    assert started.time(0)["seconds"] == [7]
    several = started.time(0.05)["seconds"]
    assert len(several) > 1
    assert set(several) == {7}


def test_contenders_take_turns_and_one_that_fails_drops_out(tmp_path):
    def importing(peer, module):
        options = {"module": module, "before": ""}
        return Contender(module, peer, import_time.fresh_import, options=options)

    imports = Case(
        title="Imports",
        points=[{}],
        contenders=[
            importing("ours", "json"),
            importing("peer", "string"),
            importing("peer", "no_such_module"),
        ],
        unit=("imports", lambda sizes: 1),
        bars=[],
        ours="ours",
    )
    settings = {"pythons": {"ours": sys.executable}, "threads": 1, "rounds": 2, "out": tmp_path}
    settings |= {"memory_limit": 8, "device": "cpu", "backend": "tensorflow", "before": ""}
    measured = measure.measure("imports", imports, {}, types.SimpleNamespace(**settings))
    rows = measured["rows"]
    assert [len(rows[name]["rounds"]) for name in ("json", "string")] == [2, 2]
    assert rows["json"]["times_ours"] == 1
    assert rows["no_such_module"]["error"].startswith("failed: CalledProcessError")
    assert "median" not in rows["no_such_module"]


def test_processors_seconds_may_be_told_too():
    started = session(tell_both_seconds)
    assert started.time(0) == {"seconds": [7], "processor_seconds": [11]}


def test_a_case_of_fresh_processes_takes_no_step_before_those_that_it_times(tmp_path, monkeypatch):
    steps_taken = []

    def start(self, *arguments):
        self.ask = lambda do, **more: (
            steps_taken.append(do)
            or {"seconds": [1.0], "processor_seconds": [1.0], "peak": 1, "imports": 1}
        )

    monkeypatch.setattr(measure.Entry, "start", start)
    contender = Contender("ours", "keras_attention", hold_memory)
    settings = types.SimpleNamespace(threads=1, rounds=2, device="cpu")
    for fresh, expected in ((True, 2), (False, 4)):
        steps_taken.clear()
        each = Case("x", [{}], [contender], ("steps", lambda sizes: 1), bars=[], fresh=fresh)
        measure.measure("x", each, {}, settings)
        assert steps_taken.count("time") == expected


def test_a_first_step_tells_its_seconds_and_what_was_traced_anew():
    each = CASES["first_step"]
    options = {**each.points[0], **each.trial, "jit_compile": False, "model": "library"}
    found = first_step.first_step({**options, "cuts": [0, 1]})
    assert found["retraces"] == 0
    assert len(found["seconds"]) == 2
    assert np.isfinite(found["loss"])
    agree = each.compare({}, {"a": {"loss": 1.0, "retraces": 0}, "b": {"loss": 1.0, "retraces": 1}})
    assert [comparison["agrees"] for comparison in agree] == [True, False, True]


def test_a_commit_that_is_not_there_is_named(tmp_path):
    options = {"folder": str(tmp_path / "library"), "before": "0" * 40}
    with pytest.raises(LookupError, match="this clone has no commit 0000"):
        first_step.before(options)


def test_an_environment_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "old.txt").write_text("# python 2.1\nnothing\n")
    monkeypatch.setattr(environments, "_LISTS", tmp_path)
    monkeypatch.setattr(environments, "_CACHE", tmp_path)
    with pytest.raises(SystemExit, match=r"Environment old cannot be made: .*python2\.1"):
        environments.python("old")


@pytest.mark.parametrize("name", CASES)
def test_environments_and_sizes_of_a_case_exist(name):
    each = CASES[name]
    for contender in each.contenders:
        assert contender.environment in environments.IMPORTS
        assert (environments._LISTS / f"{contender.environment}.txt").is_file()
        assert any(contender.takes_part(sizes) for sizes in each.points)
    assert each.ours in {contender.peer for contender in each.contenders}
    assert set(each.trial) <= set(each.points[0])
    assert each.trial or not each.extra_memory


@pytest.mark.parametrize("name", CASES)
def test_every_bar_is_measured_where_nobody_fails(name):
    """So that no bar asks for a peer or for sizes that are not there."""
    each, points = CASES[name], []
    for sizes in each.points:
        rows = {
            contender.name: row(contender.peer, [1.0, 2.0], **contender.options)
            for contender in each.contenders
            if contender.takes_part(sizes)
        }
        points.append(point(rows, each.ours, **sizes))
    assert each.bars
    for bar in each.bars:
        assert bar.result(points)["measured"] is not None, bar.what


@pytest.mark.parametrize("name", [name for name, each in CASES.items() if each.on_gpu])
def test_layers_are_compared_with_the_processor_on_a_gpu(name):
    """As they are run there; without a GPU both are the processor."""
    each = CASES[name]
    sizes = {**each.points[0], **each.trial}
    first, *others = measure.contenders_on("gpu", each, sizes)
    assert first.options["device"] == "cpu"
    assert {contender.environment for contender in others} == {"ours"}
    fast = [contender for contender in others if contender.options["jit_compile"]]
    ours = next(contender for contender in fast if contender.peer == each.ours)
    outputs = {c.name: c.setup({**sizes, **c.options}).outputs() for c in (first, ours)}
    assert len(outputs[first.name]) > 1
    assert all(c["agrees"] for c in case.compare_with_first(sizes, outputs))


def test_a_step_without_upstream_has_no_gradients():
    import keras

    problem = steps.Problem({"x": (2, 3)}, (2, 4), {"kernel": (3, 4)})
    layer = keras.layers.Dense(4, use_bias=False)
    layer.build((2, 3))
    options = {"jit_compile": False}
    full = steps.gradient_work(layer, [layer.kernel], problem, options).outputs()
    assert set(full) == {"output", "x gradient", "kernel gradient"}
    x, kernel = problem.inputs["x"], problem.weights["kernel"]
    np.testing.assert_allclose(full["output"], x @ kernel, rtol=1e-5)
    np.testing.assert_allclose(full["kernel gradient"], x.T @ problem.upstream, rtol=1e-5)
    options["backward"] = False
    forward = steps.gradient_work(layer, [layer.kernel], problem, options).outputs()
    assert set(forward) == {"output"}


# ---------------------------------------------------------------- operations by count


def test_loops_count_as_often_as_they_run():
    """By hand: 2 m n k operations a product, 7 times 5 of them and one behind."""
    import jax

    x, w = np.ones((64, 128), "float32"), np.ones((128, 128), "float32")

    def apply(x, w):
        def inner(i, x):
            return jax.numpy.tanh(x @ w)

        x = jax.lax.fori_loop(0, 7, lambda i, x: jax.lax.fori_loop(0, 5, inner, x), x)
        # As in the library: XLA cannot know how often this one runs.
        more = jax.lax.while_loop(
            lambda state: state[0] < 3,
            lambda state: (state[0] + 1 + (state[1][0, 0] < -9), state[1] @ w),
            (0, x),
        )
        return more[1] @ w

    compiled = jax.jit(apply).lower(x, w).compile()
    counts = hlo_count.count(compiled)
    products = 2 * 64 * 128 * 128 * (7 * 5 + 3 + 1)
    tanhs = 64 * 128 * 7 * 5
    assert counts["flop"] == pytest.approx(products + tanhs, rel=1e-3)
    assert compiled.cost_analysis()["flops"] < products / 10  # What XLA says by itself.
    assert counts["least bytes"] == 4 * (2 * 64 * 128 + 128 * 128)
    assert counts["bytes"] > (7 * 5 + 4) * counts["least bytes"]


def test_a_loop_that_runs_unknown_times_is_refused():
    import jax

    def double(x, limit):
        return jax.lax.while_loop(lambda x: x[0] < limit, lambda x: 2 * x, x)

    compiled = jax.jit(double).lower(np.ones(3), 100.0).compile()
    with pytest.raises(ValueError, match="unknown number of trips"):
        hlo_count.count(compiled)


def test_products_of_a_training_step_are_counted_by_hand():
    sizes = {"width": 2, "vocabulary": 7, "batch": 3, "source_steps": 5, "target_steps": 4}
    encoder = 2 * 2 * (15 * 2 * 6)  # of tokens and states, in both directions
    decoder = 15 * 4 * 2 + 12 * 2 * 6 * 2 + 12 * 2 * 7  # keys, tokens and states, head
    bahdanau = 12 * 2 * 2 + 12 * 4 * 6  # queries, contexts
    expected = 2 * 3 * (encoder + decoder + bahdanau)
    assert training_step.products({**sizes, "decoder": "bahdanau"}) == expected


def test_what_takes_longer_bounds():
    machine = (10, 5, 1)
    assert roofline.bound({"flop": 40, "bytes": 10}, machine) == (4, "arithmetic")
    assert roofline.bound({"flop": 40, "bytes": 30}, machine) == (6, "memory")
    assert roofline.bound({"flop": 40, "bytes": 30}, (10, 5, 1 / 2)) == (4, "arithmetic")
    counts = {"a kernel": {"flop": 4e9, "products": 3e9, "bytes": 2e9, "least bytes": 1e9}}
    text = roofline.table(counts, {"a machine": (1e12, 1e12, 1)})
    assert "| a kernel | 4 | 3 | 2000 | 1000 | 2.0 |" in text
    assert "| a kernel | 4, arithmetic |" in text


# ---------------------------------------------------------------- captions of Flickr8k


def test_each_run_of_flickr8k_is_a_training_that_starts_from_one_before(tmp_path):
    before = {""}
    for step in flickr8k.STEPS:
        for start, options in step.values():
            assert start in before
            arguments = [*flickr8k.OPTIONS.split(), *options.split(), "--start-from", "X"]
            result = CliRunner().invoke(app, ["train", *arguments, "--images", str(tmp_path)])
            assert result.output.splitlines()[-1] == "error: --images needs --captions too"
        before |= step.keys()
    assert {f"{table.STUDY}/{kind}" for kind in ("soft", "hard", "none")} <= before


def test_the_table_of_flickr8k_tells_what_is_above_none(tmp_path):
    pictures = [
        Picture(f"{i}.jpg", (f"a {noun} runs over the grass", f"the {noun} is on grass"))
        for i, noun in enumerate(["dog", "man", "girl", "horse"] * 3)
    ]
    scores = dict.fromkeys(table.SCORES, 1.0)
    wrong = {"soft": {"dog"}, "hard": set(), "none": {"dog", "girl"}}
    folders = [tmp_path / "seed1", tmp_path / "seed2"]
    for number, folder in enumerate(folders):
        metrics = {}
        for kind, missed in wrong.items():
            run_folder = folder / table.STUDY / kind
            run_folder.mkdir(parents=True)
            start = tmp_path / "seed1" / table.STUDY / "none" if kind == "hard" else ""
            config = Config("", "", attention=kind, start_from=str(start))
            (run_folder / "config.json").write_text(config.to_json())
            (run_folder / "test.json").write_text(to_json(pictures))
            lines = ["image\tfound\treferences"]
            for picture in reversed(pictures):
                noun = picture.captions[0].split()[1]
                found = "somebody is there" if noun in missed else picture.captions[0]
                lines.append(f"{picture.name}\t{found}\t{picture.captions[1]}")
            (run_folder / "captions.tsv").write_text("".join(f"{line}\n" for line in lines))
            metrics[kind] = {"train_seconds": 60 * (number + 1), "test_pictures": 12}
            (run_folder / "metrics.json").write_text(json.dumps(metrics[kind]))
            metrics[kind] |= {"beam": scores, "greedy": scores, "entropy": 50 + number}
            metrics[kind]["pairs"] = {name: [60, 50, 70] for name in table.PAIRS}
        (folder / table.STUDY / "metrics.json").write_text(json.dumps(metrics))
    studies = [folder / table.STUDY for folder in folders]
    samples = table.above_none(studies)
    assert samples["hard"].shape == (table.SAMPLES, 2)
    assert (samples["soft"] >= 0).all()
    assert (samples["hard"].mean(0) > samples["soft"].mean(0)).all()
    # All pictures at once are what sacrebleu makes of them.
    texts = table.captions(studies[0] / "none", pictures)
    references = [picture.captions for picture in pictures]
    counts = [*map(table.bleu_counts, texts, references)]
    expected = scoring.scores(texts, references)["bleu4"]
    assert table.bleu4(np.sum(counts, axis=0)) == pytest.approx(expected, abs=0.006)
    lines = table.table(folders).splitlines()
    assert lines[0] == "2 seeds, 12 pictures"
    assert lines[4].startswith("| soft | 1.00 ± 0.00 |")
    assert lines[4].endswith("| 50.50 ± 0.71 | 1.50 ± 0.71 |")
    assert lines[5].endswith("| 2.50 ± 0.71 |")  # with the minute of the run before
    assert "| soft | 60.0 (50.0 to 70.0) |" in "\n".join(lines)


@pytest.mark.parametrize("example", ["translation", "captioning"])
def test_batches_of_the_examples_fit_their_models(example):
    batches, model = input_pipeline.EXAMPLES[example]()
    inputs, target_out = next(iter(batches.epochs(0, 1)))
    outputs = model(inputs)
    logits = outputs["logits"] if example == "captioning" else outputs
    assert logits.shape[:2] == target_out.shape
