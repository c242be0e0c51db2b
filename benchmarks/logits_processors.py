"""The search's processors against those of transformers: `python -m benchmarks.logits_processors`.

The Python that runs it is ours. transformers' environment is made in `.bench/` on first use.
"""

import json
import subprocess
import sys

import numpy as np

from benchmarks import environments

VOCABULARY, STEPS, ROWS, CASES = 11, 12, 25, 400
PREFIX_ROWS = 5  # batch entries, each with as many beams


def main() -> None:
    import keras_attention as ka

    drawn = cases()
    command = [environments.python("transformers"), "-m", "benchmarks.logits_processors", "theirs"]
    text = json.dumps(drawn)
    answer = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True)
    others = json.loads(answer.stdout.splitlines()[-1])
    worst: dict[str, float] = {}
    for case, other in zip(drawn, others, strict=True):
        processor = getattr(ka.processors, case["name"])(*case["options"])
        # What stands behind the time is not read: here, words that were never said.
        tokens = np.pad(case["tokens"], [[0, 0], [0, STEPS - case["time"]]], constant_values=5)
        logits = np.array(case["logits"], "float32")
        found = np.asarray(processor(logits, tokens.astype("int32"), np.int32(case["time"])))
        differ = found != np.array(other)  # also where one of them is -inf
        gap = float(np.max(np.abs(found[differ] - np.array(other)[differ]), initial=0))
        worst[case["name"]] = max(worst.get(case["name"], 0.0), gap)
    print(f"{CASES * ROWS} rows each\n\n| processor | largest difference |\n|---|---:|")
    for name, gap in worst.items():
        print(f"| {name} | {gap:.1e} |")
    if max(worst.values()) > 1e-6:
        raise SystemExit("processors differ by more than 1e-6")


def cases() -> list[dict]:
    """Processors with their options, logits, and tokens so far."""
    random = np.random.default_rng(1)

    def words(count, longest=3):
        return [
            random.integers(VOCABULARY, size=random.integers(1, longest + 1)).tolist()
            for _ in range(count)
        ]

    drawn = []
    for _ in range(CASES):
        length, end = (int(x) for x in random.integers([STEPS, VOCABULARY]))
        prefix = random.integers(VOCABULARY, size=(PREFIX_ROWS, int(random.integers(1, STEPS))))
        for name, options in (
            ("MinLength", [length, end]),
            ("SuppressTokens", [random.integers(VOCABULARY, size=3).tolist()]),
            ("ForcedPrefix", [prefix.tolist()]),
            ("NoRepeatNGram", [int(random.integers(1, 5))]),
            ("RepetitionPenalty", [float(random.uniform(1, 3))]),
            ("BadWords", [words(random.integers(1, 20))]),
        ):
            time = int(random.integers(1, STEPS))
            logits = random.normal(size=(ROWS, VOCABULARY)) - 2
            tokens = random.integers(VOCABULARY, size=(ROWS, time))
            drawn.append(
                {
                    "name": name,
                    "options": options,
                    "logits": logits.astype("float32").tolist(),
                    "tokens": tokens.tolist(),
                    "time": time,
                }
            )
    return drawn


def theirs(drawn: list[dict]) -> list:
    import torch
    import transformers as hf

    def prefixed(prefix):
        def allowed(row, so_far):
            at = len(so_far)
            return [prefix[row][at]] if at < len(prefix[row]) else list(range(VOCABULARY))

        return hf.PrefixConstrainedLogitsProcessor(allowed, ROWS // PREFIX_ROWS)

    make = {
        "MinLength": hf.MinLengthLogitsProcessor,
        "SuppressTokens": hf.SuppressTokensLogitsProcessor,
        "ForcedPrefix": prefixed,
        "NoRepeatNGram": hf.NoRepeatNGramLogitsProcessor,
        "RepetitionPenalty": hf.RepetitionPenaltyLogitsProcessor,
        "BadWords": hf.NoBadWordsLogitsProcessor,
    }
    return [
        make[case["name"]](*case["options"])(
            torch.tensor(case["tokens"]), torch.tensor(case["logits"])
        ).tolist()
        for case in drawn
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["theirs"]:
        print(json.dumps(theirs(json.load(sys.stdin))))
    else:
        main()
