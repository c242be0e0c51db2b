"""The captioning example's data: caption files of JSON, folders and tars of pictures."""

import io
import json
import tarfile

import pytest
from PIL import Image

from examples.captioning import data, images, layouts
from examples.captioning.data import Picture
from examples.common.errors import UserError

PLAIN = {
    "train": [
        {"image": f"{i}.png", "captions": ["A dog.", "One dog!"], "objects": []} for i in range(40)
    ],
    "dev": [
        {
            "image": "dev.png",
            "captions": ["Two cats"],
            "objects": [{"noun": "cat", "box": [1, 2, 30, 40.5]}],
        }
    ],
    "test": [{"image": "test.png", "captions": ["A man's T-shirt, wet."]}],
}
KARPATHY = {
    "dataset": "tiny",
    "images": [
        {"filename": "a.png", "split": "train", "sentences": [{"raw": "A dog.", "tokens": []}]},
        {"filename": "b.png", "split": "restval", "sentences": [{"raw": "Two"}, {"raw": "Cats"}]},
        {"filename": "c.png", "filepath": "val", "split": "val", "sentences": [{"raw": "Sea"}]},
        {"filename": "d.png", "split": "test", "sentences": [{"raw": "Sky"}]},
    ],
}
COCO = {
    "info": {},
    "images": [{"id": i, "file_name": f"{i}.png"} for i in range(300)],
    "annotations": [{"image_id": i % 300, "caption": f"dog {i}"} for i in range(600)],
}


def encode(picture):
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()


PNG = encode(Image.new("RGB", (8, 8), "green"))


def make_tar(path, *members):
    """A tar of members, each a name or a TarInfo, whose files all hold the same picture."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(PNG) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(PNG))
    return path


def all_names(content):
    splits = [content[split] for split in ("train", "dev", "test") if split in content]
    return [item["image"] for split in splits for item in split]


@pytest.fixture
def write(tmp_path):
    def write(content, name="captions.json"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


def refused(call, *arguments, **options):
    """The one line of the UserError that a call must raise."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- caption files


def test_plain_layout(write):
    splits = layouts.read(write(PLAIN))
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [40, 1, 1]
    assert splits["dev"] == [Picture("dev.png", ("Two cats",), (("cat", (1, 2, 30, 40.5)),))]


def test_karpathy_layout(write):
    assert layouts.read(write(KARPATHY)) == {
        "train": [Picture("a.png", ("A dog.",)), Picture("b.png", ("Two", "Cats"))],
        "dev": [Picture("val/c.png", ("Sea",))],
        "test": [Picture("d.png", ("Sky",))],
    }


def test_coco_layout_is_split_by_name(write, tmp_path):
    tar = make_tar(tmp_path / "images.tar", *(f"{i}.png" for i in range(300)))
    splits = data.load(tar, write(COCO))
    assert splits.train[0].captions in {(f"dog {i}", f"dog {i + 300}") for i in range(300)}
    names = [{picture.name for picture in split} for split in splits[:3]]
    assert len(set.union(*names)) == sum(map(len, names)) == 300
    assert 20 <= len(names[2]) <= 40  # 10 %
    assert 7 <= len(names[1]) <= 23  # 5 %
    fewer = {**COCO, "images": COCO["images"][:150], "annotations": COCO["annotations"][:150]}
    for before, now in zip(names, data.load(tar, write(fewer))[:3], strict=True):
        assert {picture.name for picture in now} == before & {f"{i}.png" for i in range(150)}


def test_without_a_test_split_dev_is_evaluated(write, tmp_path):
    content = {"train": PLAIN["train"], "dev": PLAIN["dev"], "test": []}
    tar = make_tar(tmp_path / "images.tar", *all_names(content))
    splits = data.load(tar, write(content))
    assert [picture.name for picture in splits.test] == ["dev.png"]
    assert len(splits.train) + len(splits.dev) == 40
    assert 1 <= len(splits.dev) <= 6
    assert splits.notes == ()


def test_captions_come_normalized(write, tmp_path):
    tar = make_tar(tmp_path / "images.tar", *all_names(PLAIN))
    splits = data.load(tar, write(PLAIN))
    assert splits.test[0].captions == ("a mans tshirt wet",)
    assert splits.dev[0].objects == (("cat", (1, 2, 30, 40.5)),)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{'train': []}", "not JSON"),
        (b"\xff\xfe\xfa", "not UTF-8"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], "no object with keys; expected"),
        ({"pictures": [], "texts": []}, "the keys pictures, texts; expected"),
        ({"train": {"a.png": "A dog"}}, "train is of type dict, not list"),
        ({"train": ["a.png"]}, "train[0] has no 'captions'"),
        ({"train": [{"image": "a.png"}]}, "train[0] has no 'captions'"),
        ({"train": [{"image": "a.png", "captions": "A dog"}]}, "['captions'] is of type str"),
        ({"train": [{"image": "a.png", "captions": ["A", 7]}]}, "['captions'][1] is of type int"),
        ({"train": [{"image": 7, "captions": []}]}, "train[0]['image'] is of type int"),
        (
            {"train": [{"image": "a", "captions": [], "objects": [{"noun": "x", "box": [1, 2]}]}]},
            "train[0]['objects'][0]['box'] is [1, 2]; expected four numbers",
        ),
        ({"images": [{"filename": "a", "split": "x"}]}, "'x'; expected one of train, restval, val"),
        ({"images": [{"filename": "a", "split": "val"}]}, "images[0] has no 'sentences'"),
        ({**COCO, "images": COCO["images"] * 2}, "images[300]: another image has the id 0 too"),
        ({**COCO, "images": []}, "annotations[0]: no image has the id 0"),
    ],
)
def test_bad_caption_files(write, content, told):
    path = write(content)
    message = refused(layouts.read, path)
    assert message.startswith(f"{path}: ")
    assert told in message


def test_no_caption_file(tmp_path):
    assert "no such file" in refused(layouts.read, tmp_path / "x.json")
    assert "cannot be read" in refused(layouts.read, tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {"train": PLAIN["dev"] * 2, "dev": PLAIN["test"]},
            "1 pictures are listed twice, dev.png",
        ),
        ({**PLAIN, "test": PLAIN["train"]}, "40 pictures are listed twice, 0.png, 1.png, "),
    ],
)
def test_pictures_that_are_listed_twice(write, tmp_path, content, told):
    path, tar = write(content), make_tar(tmp_path / "images.tar", *all_names(PLAIN))
    assert refused(data.load, tar, path).startswith(f"{path}: {told}")


def test_missing_pictures(write, tmp_path):
    tar = make_tar(tmp_path / "images.tar", *all_names(PLAIN)[7:])
    path = write(PLAIN)
    message = refused(data.load, tar, path)
    assert (
        f"7 pictures of {path} are not in {tar}, 0.png, 1.png, 2.png, 3.png, 4.png, ..." in message
    )
    assert "it holds 10.png and 34 others" in message
    splits = data.load(tar, path, skip_missing=True)
    assert len(splits.train) == 33
    assert "7 pictures" in splits.notes[0]
    assert "it is empty" in refused(data.load, make_tar(tmp_path / "empty.tar"), path)


def test_empty_captions_are_dropped_and_counted(write, tmp_path):
    content = json.loads(json.dumps(PLAIN))
    content["train"][0]["captions"] += ["", " .", "fine"]
    content["train"][1]["captions"] = ["?", "\n"]
    content["train"][2]["captions"] = []
    tar = make_tar(tmp_path / "images.tar", *all_names(PLAIN))
    splits = data.load(tar, write(content))
    assert splits.train[0].captions == ("a dog", "one dog", "fine")
    assert [picture.name for picture in splits.train[:2]] == ["0.png", "3.png"]
    assert "4 captions without a word" in splits.notes[0]
    assert "2 pictures without a caption, 1.png, 2.png" in splits.notes[1]


def test_nothing_left(write, tmp_path):
    tar = make_tar(tmp_path / "images.tar", *all_names(PLAIN))
    content = {**PLAIN, "test": [{"image": "test.png", "captions": ["..."]}]}
    assert "no test picture is left (left out: 1 captions" in refused(
        data.load, tar, write(content)
    )
    only_dev = {"train": [], "dev": PLAIN["dev"]}
    assert "no training picture is left" in refused(data.load, tar, write(only_dev))
    karpathy = {"images": [{**KARPATHY["images"][2], "filename": "dev.png", "filepath": ""}]}
    assert "no training picture is left" in refused(data.load, tar, write(karpathy))


def test_leaving_out(write, tmp_path):
    splits = data.load(make_tar(tmp_path / "images.tar", *all_names(PLAIN)), write(PLAIN))
    fewer = data.leave_out(splits, ["0.png", "7.png"], "0.png: too large")
    assert len(fewer.train) == 38
    assert fewer[1:3] == splits[1:3]
    told = "2 pictures that cannot be decoded, 0.png, 7.png (0.png: too large)"
    assert fewer.notes[-1] == f"left out: {told}"
    assert "no test picture is left" in refused(data.leave_out, splits, ["test.png"], "")


def test_fingerprint_tells_of_every_change(write, tmp_path):
    tar = make_tar(tmp_path / "images.tar", *all_names(PLAIN))
    splits = data.load(tar, write(PLAIN))
    first = splits.train[0]
    others = [
        splits._replace(train=splits.train[1:]),
        splits._replace(train=splits.train[::-1]),
        splits._replace(train=[first._replace(captions=first.captions[:1]), *splits.train[1:]]),
        splits._replace(train=[first._replace(name="dev.png"), *splits.train[1:]]),
        splits._replace(dev=[splits.dev[0]._replace(objects=())]),
        splits._replace(dev=splits.test, test=splits.dev),
    ]
    source = images.open_images(tar)
    digests = {data.fingerprint(each, source) for each in (splits, *others)}
    assert len(digests) == 7
    assert data.fingerprint(data.load(tar, write(PLAIN)), source) in digests
    other = tmp_path / "folder"
    for name in all_names(PLAIN):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes(source.read(name) + b" ")
    assert data.fingerprint(splits, images.open_images(other)) not in digests


# ---------------------------------------------------------------- folders and tars


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    (folder / "b.png").write_bytes(PNG)
    (folder / "more" / "a.png").write_bytes(PNG + b"\0\0")
    return folder


def test_a_folder_and_its_tar_hold_the_same(folder, tmp_path):
    path = tmp_path / "pictures.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, ".")
    for source in (images.open_images(folder), images.open_images(path)):
        assert source.names() == ["b.png", "more/a.png"]
        assert source.read("more/a.png") == PNG + b"\0\0"
        read = list(images.read_encoded(source, ["more/a.png", "b.png"]).as_numpy_iterator())
        assert read == [PNG + b"\0\0", PNG]
        with pytest.raises(KeyError):
            source.read("../pictures/b.png")


def test_a_stamp_changes_with_the_picture(folder):
    before = images.open_images(folder)
    (folder / "b.png").write_bytes(PNG + b"\0")
    after = images.open_images(folder)
    assert after.stamp("more/a.png") == before.stamp("more/a.png")
    assert after.stamp("b.png") != before.stamp("b.png")


def member(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("../a.png", "'../a.png' leads out of the folder"),
        ("/etc/a.png", "'/etc/a.png' leads out of the folder"),
        ("b/../../a.png", "'b/../../a.png' leads out of the folder"),
        (member("a.png", tarfile.SYMTYPE, "/etc/passwd"), "'a.png' is not a plain file"),
        (member("a.png", tarfile.LNKTYPE, "b.png"), "'a.png' is not a plain file"),
        (member("a.png", tarfile.FIFOTYPE), "'a.png' is not a plain file"),
        ("b.png", "'b.png' is there twice"),
        ("./b.png", "'./b.png' is there twice"),
    ],
)
def test_tars_that_are_refused(tmp_path, bad, told):
    path = make_tar(tmp_path / "images.tar", "b.png", bad, "c.png")
    message = refused(images.open_images, path)
    assert message.startswith(f"{path}: the member ")
    assert told in message
    assert [file.name for file in tmp_path.iterdir()] == ["images.tar"]


@pytest.mark.parametrize("keep", [0, 100, 512, 600, 1600])
def test_a_damaged_tar(tmp_path, keep):
    path = make_tar(tmp_path / "images.tar", *(f"{i}.png" for i in range(4)))
    path.write_bytes(path.read_bytes()[:keep])
    assert "not a whole, uncompressed tar" in refused(images.open_images, path)


def test_no_images(tmp_path):
    assert "no such folder or tar" in refused(images.open_images, tmp_path / "x")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    assert "uncompressed tar" in refused(images.open_images, tmp_path / "x.tar.gz")
