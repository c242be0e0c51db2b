"""The captioning example's caption files in the layouts that are about, and several of them."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from examples.captioning import data, layouts
from examples.captioning.cli import app
from examples.captioning.config import Config
from examples.captioning.layouts import Picture
from examples.common import options
from examples.common.errors import UserError
from marks import eagerly

TWO = [Picture("a b.jpg", ("A dog , running .", "Two")), Picture("c.jpg", ("Sea",))]
ROWS = [
    {"file_name": "a b.jpg", "text": "A dog , running ."},
    {"file_name": "a b.jpg", "text": "Two"},
]
ROWS.append({"file_name": "c.jpg", "text": "Sea"})


def lines(*rows):
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


FILES = {
    "Flickr8k.token.txt": lines("a b.jpg#0\tA dog , running .", "a b.jpg#1\tTwo", "c.jpg#0\tSea"),
    "captions.txt": lines(
        "image,caption", 'a b.jpg,"A dog , running ."', "a b.jpg,Two", "c.jpg,Sea"
    ),
    "unquoted.txt": lines("image,caption", "a b.jpg,A dog , running .", "a b.jpg,Two", "c.jpg,Sea"),
    "metadata.csv": lines(
        "text,file_name", '"A dog , running .",a b.jpg', "Two,a b.jpg", "Sea,c.jpg"
    ),
    "captions.tsv": lines(
        "image\tcaption", "a b.jpg\tA dog , running .", "a b.jpg\tTwo", "c.jpg\tSea"
    ),
    "results.csv": lines(
        "image_name| comment_number| comment",
        "a b.jpg| 0| A dog , running .",
        "a b.jpg| 1| Two",
        "c.jpg| 0| Sea",
    ),
    "metadata.jsonl": lines(*ROWS),
    "lists.jsonl": lines(
        {"image": "a b.jpg", "captions": ["A dog , running .", "Two"]},
        {"image": "c.jpg", "caption": "Sea"},
    ),
    "string_ids.json": json.dumps(
        {
            "images": [{"id": "x", "file_name": "a b.jpg"}, {"id": 7, "file_name": "c.jpg"}],
            "annotations": [
                {"image_id": "x", "caption": "A dog , running ."},
                {"image_id": 7, "caption": "Sea"},
                {"image_id": "x", "caption": "Two"},
            ],
        }
    ),
}


def refused(call, *arguments, **options):
    """The one line of the UserError that a call must raise."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", FILES)
def test_layouts(tmp_path, name, mark, end):
    (tmp_path / name).write_text(mark + FILES[name] + "\n", "utf-8", newline=end)
    assert layouts.read(tmp_path / name) == {layouts.WHOLE: TWO}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "", "its first line is ''; expected"),
        ("a.txt", "a.jpg A dog\n", "its first line is 'a.jpg A dog'; expected"),
        ("a.csv", "name,words\na.jpg,A dog\n", "its first line is 'name,words'; expected"),
        ("a.json", '{"pictures": []}', "the keys pictures; expected"),
        ("a.jsonl", '{"id": 3, "text": "A dog"}\n', "line 1 has no 'file_name'; expected"),
    ],
)
def test_an_unknown_layout_is_told_all_that_are_known(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    message = refused(layouts.read, tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: {told}")
    for known in (
        "train",
        "Karpathy",
        "COCO",
        "metadata.jsonl",
        "captions.txt",
        "Flickr8k.token.txt",
    ):
        assert known in message


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "a.txt",
            "a.jpg#0\tA dog\nb.jpg#0 A cat\n",
            "line 2: expected NAME#0, a tab and a caption",
        ),
        ("a.csv", "image,caption\na.jpg,A dog\nb.jpg\n", "line 3: 1 columns, not 2"),
        ("a.csv", 'image,caption\na.jpg,"' + "A dog " * 40_000, "not a table (field larger than"),
        ("a.jsonl", '{"file_name": "a.jpg", "text": "A"}\n{"file_name"', "line 2: not JSON"),
        ("a.jsonl", '["a.jpg", "A dog"]', "line 1 has no 'file_name'"),
        ("a.jsonl", '{"file_name": "a.jpg"}', "line 1 has no 'text'"),
        ("a.jsonl", '{"file_name": "a.jpg", "text": [3]}', "line 1 is of type int, not str"),
        ("a.txt", b"a.jpg#0\tun gar\xe7on\n", "not UTF-8"),
        (
            "a.json",
            '{"images": [{"id": 1.5, "file_name": "a"}], "annotations": []}',
            "not int | str",
        ),
    ],
)
def test_lines_that_are_refused(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refused(layouts.read, tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: ")
    assert told in message


# ---------------------------------------------------------------- several files


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("captions_train2017.json", "train"),
        ("captions_val2017.json", "dev"),
        ("test-captions.txt", "test"),
        ("data/validation/metadata.jsonl", "dev"),
        ("val/captions_train2014.json", "train"),
        ("latest/trainer.json", "train"),
        ("Flickr_8k.devImages.txt", "dev"),
        ("TEST/a.json", "test"),
        ("train_val_test.json", "train"),
    ],
)
def test_the_split_that_a_name_tells(tmp_path, path, split):
    assert layouts.split_of(tmp_path / "data" / path) == split


def draw(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "green").save(folder / name)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def coco(*names):
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    texts = ["A dog.", "Two cats"]
    annotations = [{"image_id": i, "caption": texts[i % 2]} for i in range(len(names))]
    return json.dumps({"images": images, "annotations": annotations})


def names(splits):
    return [[picture.name for picture in split] for split in splits[:3]]


def test_coco_of_several_files(tmp_path):
    """Both begin to count at 0, and the pictures lie in a folder for each."""
    draw(tmp_path, *(f"train2017/{i}.png" for i in range(150)), "val2017/x.png", "val2017/y.png")
    train = write(
        tmp_path / "annotations/captions_train2017.json", coco(*(f"{i}.png" for i in range(150)))
    )
    val = write(tmp_path / "annotations/captions_val2017.json", coco("x.png", "y.png"))
    splits = data.load(tmp_path, train, val)
    assert names(splits)[2] == ["val2017/x.png", "val2017/y.png"]  # without a test split, dev
    assert splits.test[1].captions == ("two cats",)
    assert len(splits.train) + len(splits.dev) == 150
    assert splits.train[0].name.startswith("train2017/")
    assert "listed twice" in refused(data.load, tmp_path, train, train)
    # One file is split by the hash of the names, whatever its own name is.
    assert sum(map(len, data.load(tmp_path, train)[:3])) == 150


def test_hugging_faces_folders(tmp_path):
    """The same names in each: a picture lies beside its file."""
    paths = []
    for split in ("train", "validation", "test"):
        draw(tmp_path / split, "0.png", "1.png")
        rows = lines({"file_name": "0.png", "text": split}, {"file_name": "1.png", "text": "a"})
        paths.append(write(tmp_path / split / "metadata.jsonl", rows))
    splits = data.load(tmp_path, *paths)
    assert names(splits) == [[f"{s}/0.png", f"{s}/1.png"] for s in ("train", "validation", "test")]
    assert splits.dev[0].captions == ("validation",)


def test_lists_of_names_beside_flickr8ks_captions(tmp_path):
    draw(tmp_path / "images", *(f"{i}.jpg" for i in range(6)))
    token = write(
        tmp_path / "Flickr8k.token.txt",
        "".join(f"{i}.jpg#{k}\tDog {i}\n" for i in range(6) for k in range(2)),
    )
    lists = [
        write(tmp_path / f"Flickr_8k.{split}Images.txt", content)
        for split, content in {"train": "3.jpg\n0.jpg\n", "dev": "5.jpg\n", "test": "2.jpg"}.items()
    ]
    splits = data.load(tmp_path / "images", token, *lists)
    assert names(splits) == [["0.jpg", "3.jpg"], ["5.jpg"], ["2.jpg"]]
    assert splits.test[0].captions == ("dog 2", "dog 2")
    assert splits.notes == ("left out: 2 pictures that no list of names has",)
    message = refused(data.load, tmp_path / "images", lists[0])
    assert "no training picture is left (left out: 2 pictures without a caption" in message


def test_pictures_that_lie_elsewhere(tmp_path):
    """Karpathy's file names folders, which a flat folder of pictures has not."""
    items = [
        {"filename": f"{split}.png", "filepath": f"{split}2014", "split": split}
        | {"sentences": [{"raw": "A dog."}]}
        for split in ("train", "val", "test")
    ]
    path = write(tmp_path / "dataset_coco.json", json.dumps({"images": items}))
    draw(tmp_path / "flat", "train.png", "val.png", "test.png")
    assert names(data.load(tmp_path / "flat", path)) == [["train.png"], ["val.png"], ["test.png"]]
    draw(tmp_path / "other", "train.png", "val2014/val.png", "val2015/test.png")
    message = refused(data.load, tmp_path / "other", path)
    assert "1 pictures of" in message
    assert "test2014/test.png (" in message


@eagerly
def test_several_files_on_the_command_line(tmp_path):
    draw(tmp_path / "images", *(f"{i}.png" for i in range(6)))
    token = "".join(f"{i}.png#{k}\tA dog\n" for i in range(4) for k in range(2))
    paths = [
        write(tmp_path / "flickr_train.token.txt", token),
        write(tmp_path / "dev.txt", "image,caption\n4.png,A dog\n"),
        write(tmp_path / "test.jsonl", '{"file_name": "5.png", "text": "a dog"}\n'),
    ]
    captions = [text for path in paths for text in ("--captions", str(path))]
    tiny = "--epochs 1 --size 16 --units 4 --attention-units 4 --channels 4 --embedding 4"
    tiny += " --batch-size 4"
    arguments = ["train", "--images", str(tmp_path / "images"), *captions, *tiny.split()]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "4 training, 1 development, 1 test pictures" in result.stdout
    file = tmp_path / "out" / "soft" / "config.json"
    assert json.loads(file.read_text())["captions"] == list(map(str, paths))
    again = CliRunner().invoke(
        app, ["train", "--config", str(file), "--epochs", "2", "--out", str(tmp_path / "out")]
    )
    assert again.exit_code == 0, again.output
    assert "4 training, 1 development, 1 test pictures" in again.stdout
    write(file, json.dumps({"captions": str(paths[0])}))
    message = refused(options.read, file, Config)
    assert message.endswith("expected a list of strings or null")
