"""Pictures and their captions: reading and checking caption files, and splitting them."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from examples.captioning.images import Images, open_images
from examples.captioning.tokenizer import normalize
from examples.common.errors import UserError
from examples.common.splits import split_by_hash

LAYOUTS = (
    '{"train": [{"image", "captions"}], "dev": [...]}, '
    'Karpathy\'s {"images": [{"filename", "split", "sentences": [{"raw"}]}]}, '
    'COCO\'s {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}'
)
SPLITS = {"train": "train", "restval": "train", "val": "dev", "dev": "dev", "test": "test"}

Box = tuple[float, float, float, float]


class Picture(NamedTuple):
    """A picture's name, its captions, and its objects where they are known.

    An object is a noun of `scenes` and its box (left, top, right, bottom) in pixels of a scene.
    Other files rarely have objects.
    """

    name: str
    captions: tuple[str, ...]
    objects: tuple[tuple[str, Box], ...] = ()


class Splits(NamedTuple):
    """Pictures for training, for choosing the best epoch, and for the test; notes on omissions."""

    train: list[Picture]
    dev: list[Picture]
    test: list[Picture]
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- caption files


def read_captions(path: Path) -> dict[str, list[Picture]]:
    """The pictures of each split in the file ("train", "dev", "test"), in its order."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    keys = set(content) if isinstance(content, dict) else set()
    try:
        if {"images", "annotations"} <= keys:
            splits = _coco(content)
        elif "images" in keys:
            splits = _karpathy(content)
        elif "train" in keys:
            splits = _plain(content)
        else:
            found = f"the keys {', '.join(sorted(keys)[:5])}" if keys else "no object with keys"
            raise UserError(f"{found}; expected {LAYOUTS}")
        counts = Counter(picture.name for split in splits.values() for picture in split)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise UserError(f"{len(twice)} pictures are listed twice, {_some(twice)}")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return splits


def _plain(content: dict) -> dict[str, list[Picture]]:
    splits = {}
    for split in ("train", "dev", "test"):
        if content.get(split):
            splits[split] = [_picture(*place) for place in _items(content, split)]
    return splits


def _picture(item: Any, where: str) -> Picture:
    captions = tuple(_check(text, str, at) for text, at in _items(item, "captions", where))
    found = _items(item, "objects", where) if "objects" in item else []
    objects = tuple((_get(thing, "noun", str, at), _box(thing, at)) for thing, at in found)
    return Picture(_get(item, "image", str, where), captions, objects)


def _box(item: Any, where: str) -> Box:
    box = _get(item, "box", list, where)
    if len(box) != 4 or not all(isinstance(edge, (int, float)) for edge in box):
        raise UserError(f"{where}['box'] is {box}; expected four numbers")
    return tuple(box)


def _karpathy(content: dict) -> dict[str, list[Picture]]:
    splits: dict[str, list[Picture]] = {}
    for item, where in _items(content, "images"):
        split = _get(item, "split", str, where)
        if split not in SPLITS:
            raise UserError(f"{where}['split'] is '{split}'; expected one of {', '.join(SPLITS)}")
        name = _get(item, "filename", str, where)
        if item.get("filepath"):
            name = f"{_get(item, 'filepath', str, where)}/{name}"
        captions = [
            _get(sentence, "raw", str, at) for sentence, at in _items(item, "sentences", where)
        ]
        splits.setdefault(SPLITS[split], []).append(Picture(name, tuple(captions)))
    return splits


def _coco(content: dict) -> dict[str, list[Picture]]:
    """All pictures as one split: COCO's files contain one each."""
    names: dict[int, str] = {}
    captions: dict[int, list[str]] = {}
    for item, where in _items(content, "images"):
        number = _get(item, "id", int, where)
        if number in names:
            raise UserError(f"{where}: another image has the id {number} too")
        names[number] = _get(item, "file_name", str, where)
        captions[number] = []
    for item, where in _items(content, "annotations"):
        number = _get(item, "image_id", int, where)
        if number not in captions:
            raise UserError(f"{where}: no image has the id {number}")
        captions[number].append(_get(item, "caption", str, where))
    return {"train": [Picture(name, tuple(captions[i])) for i, name in names.items()]}


def _items(item: Any, key: str, where: str = "") -> list[tuple[Any, str]]:
    """The elements of the list under `key`, and how to call each of them."""
    place = f"{where}['{key}']" if where else key
    return [(each, f"{place}[{i}]") for i, each in enumerate(_get(item, key, list, where))]


def _get(item: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise UserError(f"{where} has no '{key}'; expected {LAYOUTS}")
    return _check(item[key], kind, f"{where}['{key}']" if where else key)


def _check(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise UserError(f"{where} is of type {type(value).__name__}, not {kind.__name__}")
    return value


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


# ---------------------------------------------------------------- splits


def load(images: Path, captions: Path, skip_missing: bool = False) -> Splits:
    """The pictures of `captions` that are in `images`, split for training.

    Without a test split in the file, its dev split becomes the test split. Missing splits are taken
    from the training split by a hash of the pictures' names: 5 % dev, 10 % test.
    """
    known = set(open_images(images).names())
    splits = read_captions(captions)
    notes = []

    missing = [p.name for split in splits.values() for p in split if p.name not in known]
    if missing:
        problem = f"{len(missing)} pictures of {captions} are not in {images}, {_some(missing)}"
        if not skip_missing:
            holds = f"it holds {min(known)} and {len(known) - 1} others" if known else "it is empty"
            raise UserError(f"{problem} ({holds}); --skip-missing leaves them out")
        notes.append(f"left out: {problem}")

    full, empty = {}, 0
    for name, split in splits.items():
        found = [picture for picture in split if picture.name in known]
        full[name] = [
            p._replace(captions=tuple(filter(None, map(normalize, p.captions)))) for p in found
        ]
        empty += sum(len(picture.captions) for picture in found)
        empty -= sum(len(picture.captions) for picture in full[name])
    if empty:
        notes.append(f"left out: {empty} captions without a word")
    bare = [p.name for split in full.values() for p in split if not p.captions]
    if bare:
        notes.append(f"left out: {len(bare)} pictures without a caption, {_some(bare)}")
    return _split({name: [p for p in split if p.captions] for name, split in full.items()}, notes)


def leave_out(splits: Splits, names: list[str]) -> Splits:
    """The splits without these pictures, which cannot be decoded."""
    left_out = set(names)
    kept = {
        name: [picture for picture in getattr(splits, name) if picture.name not in left_out]
        for name in ("train", "dev", "test")
    }
    note = f"left out: {len(names)} pictures that cannot be decoded, {_some(names)}"
    return _split(kept, (*splits.notes, note))


def _split(splits: dict[str, list[Picture]], notes) -> Splits:
    if "test" not in splits and "dev" in splits:
        splits = {"train": splits.get("train", []), "test": splits["dev"]}
    shares = {name: 0.0 for name in ("test", "dev") if name in splits}
    split: dict[str, list[Picture]] = {"test": [], "dev": [], **splits, "train": []}
    for picture in splits.get("train", []):
        split[split_by_hash(picture.name, **shares)].append(picture)
    result = Splits(split["train"], split["dev"], split["test"], tuple(notes))
    for name, pictures in zip(("training", "development", "test"), result[:3], strict=True):
        if not pictures:
            reasons = f" ({'; '.join(notes)})" if notes else ""
            raise UserError(f"no {name} picture is left{reasons}: more pictures are needed")
    return result


def fingerprint(splits: Splits, images: Images) -> str:
    """A digest of every name, caption and object in every split, and of the pictures' sizes."""
    sizes = [[images.size(picture.name) for picture in split] for split in splits[:3]]
    text = json.dumps([splits.train, splits.dev, splits.test, sizes])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_split(path: Path) -> list[Picture]:
    """The pictures of one split, as `to_json` wrote them."""
    try:
        pictures = [
            Picture(name, tuple(captions), tuple((noun, tuple(box)) for noun, box in objects))
            for name, captions, objects in json.loads(path.read_bytes())
        ]
        if not pictures:
            raise ValueError("no picture in it")
        return pictures
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged, cannot be read ({error})") from None


def to_json(pictures: list[Picture]) -> str:
    """One split, in the layout that `read_split` reads."""
    return json.dumps(pictures, ensure_ascii=False) + "\n"
