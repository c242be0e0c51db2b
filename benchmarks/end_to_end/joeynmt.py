"""joeynmt's side: `python -m joeynmt`, train and test."""

import json
import re
from pathlib import Path

from benchmarks.end_to_end import programs
from examples.translation.scoring import scores

BATCHES = (32, 64, 128)  # Sentences of a beam search at a time; the fastest counts.

_WEIGHTS = re.compile(r"Total params: (\d+)$")
_EPOCH = re.compile(r"Epoch +\d+, total training loss: .* tokens: (\d+), ([\d.]+)\[sec\]$")
_SEARCH = re.compile(r"Generation took ([\d.]+)\[sec\]\.$")
_VERSIONS = "import importlib.metadata as m; print(*map(m.version, ('joeynmt', 'torch')))"


def run(settings, data: Path, models: dict[str, Path]) -> dict:
    """Trains on the files in `data` and searches; returns a row of the table.

    `models` are the SentencePiece models of ours, for "source" and "target".
    """
    for side, path in models.items():
        save_tokenizer(path, settings.out / f"joeynmt.{side}")
    references = read_lines(data / "dev.target")

    def program(name, *arguments):
        command = [settings.joeynmt, *arguments]
        return programs.run(settings.out / f"joeynmt-{name}.log", settings.threads, *command)[1]

    def search(beam, sentences):
        path = settings.out / f"joeynmt-{beam}-{sentences}"
        options = config(settings, data, beam, sentences)
        path.with_suffix(".json").write_text(json.dumps(options, indent=1))
        called = ["test", path.with_suffix(".json"), "--output-path", path]
        lines = program(f"{beam}-{sentences}", "-m", "joeynmt", *called)
        bleu = scores(read_lines(path.with_suffix(".dev")), references, "13a")["bleu"]
        return {"bleu": bleu, **seconds_of_search(lines), "sentences": sentences}

    versions = program("versions", "-c", _VERSIONS)[-1].text.split()
    path = settings.out / "joeynmt.json"  # JSON is YAML.
    path.write_text(json.dumps(config(settings, data), indent=1))
    row = training(program("train", "-m", "joeynmt", "train", path, "--skip-test"))
    row["epochs"][-1]["bleu"] = search(1, BATCHES[-1])["bleu"]  # Greedy, as ours after each epoch.
    searches = [search(settings.beam, sentences) for sentences in BATCHES]
    beam = min(searches, key=lambda each: each["seconds"])
    versions = dict(zip(("joeynmt", "torch"), versions, strict=True))
    return {**row, "beam": beam, "searches": searches, "versions": versions}


def read_lines(path: Path) -> list[str]:
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def save_tokenizer(model: Path, to: Path) -> None:
    """Writes TO.model and TO.txt, the pieces; the special ones get the names joeynmt has.

    The example puts a space before each text; here SentencePiece has to.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model.read_bytes())
    proto.normalizer_spec.add_dummy_prefix = True
    to.with_suffix(f"{to.suffix}.model").write_bytes(proto.SerializeToString())
    pieces = [piece.piece for piece in proto.pieces if piece.type not in (2, 3)]
    to.with_suffix(f"{to.suffix}.txt").write_text(
        "".join(f"{piece}\n" for piece in pieces), "utf-8"
    )


def config(settings, data: Path, beam_size: int = 1, batch_size: int = BATCHES[0]) -> dict:
    """Returns a configuration: the same network as ours, as far as joeynmt has it."""
    rnn = {"type": "recurrent", "rnn_type": "gru", "hidden_size": settings.units}
    rnn["embeddings"] = {"embedding_dim": settings.embedding, "dropout": settings.dropout}
    decoder = {"attention": "luong", "input_feeding": True, "init_hidden": "bridge"}
    decoder["hidden_dropout"] = settings.dropout

    def side(name):
        return {
            "lang": name,
            "level": "bpe",
            "max_length": settings.max_length,
            "voc_file": f"{settings.out}/joeynmt.{name}.txt",
            "tokenizer_type": "sentencepiece",
            "tokenizer_cfg": {"model_file": f"{settings.out}/joeynmt.{name}.model"},
        }

    folder = f"{settings.out}/joeynmt"
    return {
        "name": "end_to_end",
        "model_dir": folder,
        "use_cuda": False,
        "random_seed": settings.seed,
        "data": {
            "train": f"{data}/train",
            "dev": f"{data}/dev",
            "test": f"{data}/dev",  # So that they are searched twice, as ours are.
            "dataset_type": "plain",
            "src": side("source"),
            "trg": side("target"),
        },
        "model": {
            "initializer": "xavier_uniform",
            "encoder": {**rnn, "bidirectional": True},
            "decoder": {**rnn, **decoder},
        },
        "training": {
            "optimizer": "adam",
            "normalization": "tokens",
            "label_smoothing": settings.label_smoothing,
            "clip_grad_norm": 1.0,
            # There is no cosine. This is halved after each epoch, and stays as it is in the first.
            "scheduling": "exponential",
            "decrease_factor": 0.5,
            "learning_rate": 2 * settings.learning_rate,
            "learning_rate_min": 0.0,
            "batch_type": "token",
            "batch_size": settings.batch_tokens,
            "epochs": settings.epochs,
            "logging_freq": 100,
            "validation_freq": 10**9,  # Never: only its training counts.
            "print_valid_sents": [],
            "overwrite": True,
        },
        "testing": {
            "load_model": f"{folder}/latest.ckpt",
            "beam_size": beam_size,
            "beam_alpha": -1,
            "batch_type": "sentence",
            "batch_size": batch_size,
            "max_output_length": settings.max_length + 1,
            "eval_metrics": ["bleu"],
        },
    }


def training(lines: list[programs.Line]) -> dict:
    """Returns what the log has of each epoch; how long it took is joeynmt's own figure."""
    epochs = []
    for line in lines:
        if match := _EPOCH.search(line.text):
            ended = {"trained": line.seconds, "scored": line.seconds}  # Nothing is scored between.
            epochs.append({"tokens": int(match[1]), "seconds": float(match[2]), **ended})
    (weights,) = filter(None, (_WEIGHTS.search(line.text) for line in lines))
    return {"weights": int(weights[1]), "epochs": epochs}


def seconds_of_search(lines: list[programs.Line]) -> dict[str, float]:
    """Returns joeynmt's own figures, for reading, encoding and searching twice."""
    first, second = filter(None, (_SEARCH.search(line.text) for line in lines))
    return {"first": float(first[1]), "seconds": float(second[1])}
