"""The benchmarks' machinery, without peers and without times that have to be short."""

import json
import math
import pathlib
import sys

import numpy as np
import pytest

from benchmarks import bars, case, compare, environments, measure, page, report, run, worker
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender

MIB = 2**20
CASES = {name: case.load(name) for name in case.names()}


def row(peer, seconds, extra=MIB, **options):
    turns = [[second, second] for second in seconds]
    return {
        "peer": peer,
        "options": options,
        "warm": seconds[0],
        "extra": {"before": 100 * MIB, "peak": 100 * MIB + extra},
        "memory": {"peak": 300 * MIB, "imports": 200 * MIB},
        "processor_median": seconds[0],
        **measure.summary(turns, units=10),
    }


def point(rows, **sizes):
    measure.rank("ours", rows)
    return {
        "case": "made_up",
        "title": "Made up",
        "sizes": sizes,
        "unit": "things",
        "ours": "ours",
        "floor": None,
        "comparisons": [{"what": "a: x against b", "difference": 1e-7, "tolerance": 1e-5}],
        "rows": rows,
    }


def made_up():
    """Ours is 3 times as fast in every round, whatever the machine's mood, at its better half."""
    moods = np.array([1.0, 5.0, 2.0])
    return point(
        {
            "slow": row("ours", 0.25 * moods, extra=8 * MIB, jit=False),
            "fast": row("ours", 0.1 * moods, extra=2 * MIB, jit=True),
            "theirs": row("peer", 0.3 * moods[[0, 1, 2]], extra=10 * MIB, jit=False),
            "theirs, worse": row("peer", 0.5 * moods, extra=MIB, jit=True),
            "broken": {"peer": "peer", "options": {"jit": False}, "error": "failed: a reason"},
        },
        length=4,
    )


def test_quotients_are_those_of_rounds_between_the_fastest_configurations():
    points = [made_up()]
    assert bars.times_as_fast("peer")(points) == pytest.approx(3)
    assert bars.times_the_time("peer")(points) == pytest.approx(1 / 3)
    assert bars.times_as_fast("peer", jit=False)(points) == pytest.approx(0.3 / 0.25)
    assert bars.share_of_memory("peer")(points) == pytest.approx(2 / 10)
    assert bars.extra_mib()(points) == pytest.approx(2)
    assert bars.seconds("fast")(points) == pytest.approx(0.2)
    rows = points[0]["rows"]
    assert rows["theirs"]["times_ours"] == pytest.approx(3)
    assert rows["theirs, worse"]["times_ours_range"] == pytest.approx([5, 5])


def test_a_configuration_that_was_given_up_counts_with_its_first_steps():
    rows = {
        "ours": row("ours", [0.1]),
        "theirs": {"peer": "peer", "options": {}, "warm": 0.7, "error": "not measured further"},
    }
    assert bars.times_as_fast("peer")([point(rows)]) == pytest.approx(7)


@pytest.mark.parametrize(
    "at",
    [{"length": 5}, None],
    ids=["no such point", "no such peer"],
)
def test_what_was_not_measured_is_not_met(at):
    bar = Bar("x", bars.times_as_fast("nobody" if at is None else "peer", at), at_least=0)
    assert bar.result([made_up()]) == {
        "what": "x",
        "asked": {"at_least": 0, "at_most": None},
        "unit": "",
        "measured": None,
        "met": False,
    }


def test_bars_have_one_side_which_counts_as_met():
    points = [made_up()]
    for limit, at_least, at_most in ((2.9, True, False), (3.1, False, True)):
        measured = bars.times_as_fast("peer")
        assert Bar("x", measured, at_least=limit).result(points)["met"] is at_least
        assert Bar("x", measured, at_most=limit).result(points)["met"] is at_most
    assert Bar("x", measured).result(points)["met"] is None
    with pytest.raises(ValueError, match="accepted is one"):
        Bar("x", measured, at_least=1, at_most=2)


def test_an_exponent_is_not_flattened_by_what_a_process_takes_anyway():
    lengths = [2**power for power in range(9, 15)]

    def grown(extra):
        return [
            point({"ours": row("ours", [1.0], extra=extra(length))}, length=length)
            for length in lengths
        ]

    exponent = bars.exponent("ours", "length")
    assert exponent(grown(lambda length: 1000 * length)) == pytest.approx(1)
    assert exponent(grown(lambda length: length**2)) == pytest.approx(2)
    with_a_floor = exponent(grown(lambda length: 50 * MIB + 4 * length**2))
    assert with_a_floor > 1.5
    missing = grown(lambda length: length)
    del missing[-1]["rows"]["ours"]
    assert exponent(missing) is None


def test_outputs_are_compared_with_the_first_ones():
    outputs = {
        "a": {"x": np.array([1.0, 200.0]), "x's gradient": np.array([1.0])},
        "b": {"x": np.array([1.0, 200.001]), "x's gradient": np.array([1.00005])},
    }
    comparisons = compare.with_first(1e-5, gradients=1e-4)({}, outputs)
    assert [comparison.agrees for comparison in comparisons] == [True, True]
    assert not compare.with_first(1e-6)({}, outputs)[0].agrees
    outputs["b"]["x"][0] = math.nan
    assert not compare.with_first(1e-5)({}, outputs)[0].agrees


def results():
    return {
        "machine": {"processor": "A processor", "system": "s", "threads": 2, "load": 0.1},
        "cases": [
            {
                "case": "made_up",
                "title": "Made up",
                "against": against,
                "bars": [
                    Bar("fast enough", bars.times_as_fast("peer"), at_least=2).result([made_up()]),
                    Bar("small", bars.extra_mib(), at_most=1, unit="MiB").result([made_up()]),
                    Bar("a share", bars.times_the_time("peer")).result([made_up()]),
                ],
                "error": None,
                "points": [made_up()],
            }
            for against in (None, "length")
        ],
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
    text = report.tables(results(), pathlib.Path("pictures"))
    assert (
        "| theirs | 600 | 375 to 1275 | 300 | 16.7 | 3.00 | 3.00 to 3.00 | 10 | 300 (200) |" in text
    )
    assert "| broken | failed: a reason |" in text
    assert "| fast | 0.2; 2 |" in text
    assert "differs most: a: x against b, by 1.0e-07 (allowed 1e-05)" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {10, 3}


def test_a_page_keeps_its_own_words(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        f"# Title\n\n{page.SUMMARY}\nold\n{page._END}\n\nwords\n\n{page.MARKER}\n\nold tables\n"
    )
    for _ in range(2):  # a second time changes nothing
        page.put_into(results(), path)
        text = path.read_text()
        assert text.startswith(f"# Title\n\n{page.SUMMARY}\n")
        assert f"{page._END}\n\nwords\n\n{page.MARKER}\n" in text
        assert "old" not in text
        assert text.count("fast enough") == 2
    picture = tmp_path / "pictures" / "benchmarks" / "made_up.svg"
    assert "extra memory, MiB" in picture.read_text()
    page.write(results(), tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["cases"][0]["bars"][0]["met"]


def test_a_case_whose_outputs_differ_has_no_times_and_meets_nothing(tmp_path, monkeypatch):
    def differing(*arguments):
        raise measure.OutputsDiffer("no times, because outputs differ: x")

    monkeypatch.setattr(measure, "measure", differing)
    for name, each in CASES.items():
        measured = run._measured(name, each, None, {})
        assert not any(bar["met"] for bar in measured["bars"])
        text = report.tables({"cases": [measured]}, tmp_path)
        assert "outputs differ: x" in text
        assert "ms" not in text


def test_a_worker_tells_the_memory_of_its_first_steps():
    code = []  # what the first of all steps brings along

    def setup(options):
        held = np.ones(40 * MIB // 8)

        def step():
            if not code:
                code.append(np.ones(300 * MIB // 8))
            return np.ones(options["size"] * MIB // 8) + held[0]

        return worker.Work(step)

    session = worker.Session(setup, {"size": 64})
    session.setup()
    answer = session.first_steps(steps=2, small={"size": 1})
    assert len(answer["seconds"]) == 2
    extra = answer["peak"] - answer["before"]
    assert 60 * MIB < extra < 200 * MIB
    assert session.memory()["peak"] >= answer["peak"]


def test_a_step_may_tell_its_own_seconds():
    session = worker.Session(lambda options: worker.Work(lambda: worker.Seconds(7)), {})
    session.setup()
    answer = session.time(2)
    assert answer["seconds"] == [7, 7]
    assert answer["all_seconds"] < 7  # by which a turn is planned


class Hasty:
    """A worker whose steps say that they take no time, and cost a lot."""

    def ask(self, do, steps):
        return {"seconds": [1e-6] * steps, "processor_seconds": [0] * steps, "all_seconds": steps}


def test_turns_are_planned_by_what_a_step_costs():
    rows = {"a": {}}
    imports = case.load("import_time")
    measure._warm_up(imports, {"a": Hasty()}, rows, "a")
    assert rows["a"] == {"warm": 1e-6, "costs": 1}
    assert measure._rounds({"a": {"costs": 25}}, ["a"], wanted=6) == 2
    assert measure._rounds({"a": {"costs": 1e-3}}, ["a"], wanted=6) == 6


def importing(name, peer, module):
    options = {"module": module, "before": ""}
    return Contender(name, peer, "import_time.worker", "any", options)


def test_contenders_take_turns_and_one_that_fails_drops_out(tmp_path):
    imports = Case(
        title="Imports",
        points=({},),
        contenders=(
            importing("json", "ours", "json"),
            importing("string", "peer", "string"),
            importing("nothing", "peer", "no_such_module"),
        ),
        unit=("imports", lambda sizes: 1),
        compare=compare.nothing,
        ours="ours",
    )
    settings = measure.Settings({"any": sys.executable}, 1, 2, tmp_path, 8 * 2**30)
    measured = measure.measure("imports", imports, {}, settings)
    rows = measured["rows"]
    assert [len(rows[name]["rounds"]) for name in ("json", "string")] == [2, 2]
    assert rows["json"]["times_ours"] == 1
    assert rows["nothing"]["error"].startswith("failed: CalledProcessError")
    assert "median" not in rows["nothing"]


@pytest.mark.parametrize("name", CASES)
def test_scripts_environments_and_sizes_of_a_case_exist(name):
    each = CASES[name]
    root = pathlib.Path(case.__file__).parent.parent
    for contender in each.contenders:
        scripts = [(contender.script, contender.environment)]
        scripts += [contender.prepare] if contender.prepare else []
        for script, environment in scripts:
            path = root / pathlib.Path(*case.module(name, script).split(".")).with_suffix(".py")
            assert path.is_file(), path
            assert environment in environments.names()
        assert any(contender.takes_part(sizes) for sizes in each.points)
    assert {c.peer for c in each.contenders} >= {each.ours} - {None}
    assert set(each.trial) <= set(each.points[0])


@pytest.mark.parametrize("name", CASES)
def test_every_bar_is_measured_where_nobody_fails(name):
    """So that no bar asks for a peer or for sizes that are not there."""
    each = CASES[name]
    points = [
        {
            **point(
                {
                    contender.name: row(contender.peer, [1.0, 2.0], **contender.options)
                    for contender in each.contenders
                    if contender.takes_part(sizes)
                },
                **sizes,
            ),
            "ours": each.ours,
        }
        for sizes in each.points
    ]
    assert each.bars
    for bar in each.bars:
        assert bar.result(points)["measured"] is not None, bar.what


def test_the_layers_run_as_on_a_gpu(tmp_path):
    from benchmarks import gpu

    measured = gpu.main(["--small", "--rounds", "1", "--out", str(tmp_path)])
    assert len(measured["problems"]) == 7
    for each in measured["problems"]:
        assert max(each["difference"].values()) < 1e-5, each["name"]
    assert (tmp_path / "gpu-tensorflow.md").read_text().count("\n") > 9
