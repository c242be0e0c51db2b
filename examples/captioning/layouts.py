"""Caption files in the layouts in which people have them, as pictures with their captions."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from examples.captioning.images import SUFFIXES
from examples.common.errors import UserError, user_errors

LAYOUTS = (
    '{"train": [{"image", "captions"}], "dev": [...]}, '
    'Karpathy\'s {"images": [{"filename", "split", "sentences": [{"raw"}]}]}, '
    'COCO\'s {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}, '
    'Hugging Face\'s metadata.jsonl with a {"file_name", "text"} on each line, '
    "a table whose first line is image,caption as Kaggle's captions.txt has it, "
    "lines of NAME#0, a tab and a caption as in Flickr8k.token.txt, or beside it lines of names "
    "as in Flickr_8k.trainImages.txt"
)
SPLITS = {"train": "train", "restval": "train", "val": "dev", "dev": "dev", "test": "test"}
SPLITS["validation"] = "dev"
WHOLE = "whole"  # in place of a split, in a layout that has none
NAMES, TEXTS = ("image", "file_name", "filename", "image_name"), ("caption", "text", "comment")

Box = tuple[float, float, float, float]


class Picture(NamedTuple):
    """A picture's name, its captions, and its objects where they are known.

    An object is a noun of `scenes` and its box (left, top, right, bottom) in pixels of a scene.
    Other files rarely have objects.
    """

    name: str
    captions: tuple[str, ...]
    objects: tuple[tuple[str, Box], ...] = ()


def read(path: Path) -> dict[str, list[Picture]]:
    """The pictures of each split in the file ("train", "dev", "test"), in its order.

    A layout without splits has all of them under WHOLE.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    with user_errors(path, "read"):
        content = path.read_bytes()
    try:
        text = content.decode(json.detect_encoding(content))
        if path.suffix == ".jsonl":
            return _gather(_rows(text))
        if path.suffix == ".json" or text.lstrip().startswith(("{", "[")):
            return _read_json(json.loads(text))
        return _gather(_read_lines(text))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a table ({error})") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def split_of(path: Path) -> str:
    """The split that the name of a file tells, or else its folder's: captions_val2017.json."""
    for name in (path.stem, path.absolute().parent.name):
        words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)]
        found = {SPLITS[word] for word in words if word in SPLITS}
        if len(found) == 1:
            return found.pop()
    return "train"


# ---------------------------------------------------------------- lines


def _read_lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """The name of a picture and its caption, for each line of a table or a token file.

    Lines that are names alone have no caption: such a file tells the split of the pictures.
    """
    first = text.lstrip().split("\n")[0].strip()
    if re.fullmatch(rf"[^\t,|]+({'|'.join(map(re.escape, SUFFIXES))})", first, re.IGNORECASE):
        return ((name.strip(), []) for name in text.split("\n") if name.strip())
    if re.fullmatch(r".+#\d+\t.*", first):
        return _tokens(text)
    for delimiter in ",\t|":
        header = [column.strip().lower() for column in first.split(delimiter)]
        columns = [next((i for i, c in enumerate(header) if c in n), -1) for n in (NAMES, TEXTS)]
        if min(columns) >= 0:
            return _table(text, delimiter, len(header), *columns)
    raise UserError(f"its first line is '{first[:60]}'; expected {LAYOUTS}")


def _tokens(text: str) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            match = re.fullmatch(r"(.+)#\d+\t(.*)", line.rstrip("\r"))
            if not match:
                raise UserError(f"line {number}: expected NAME#0, a tab and a caption")
            yield match[1], [match[2]]


def _table(
    text: str, delimiter: str, width: int, name: int, caption: int
) -> Iterator[tuple[str, list[str]]]:
    # Commas come with quotes around captions that hold some.
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    file = io.StringIO(text, newline="")
    rows = csv.reader(file, delimiter=delimiter, quoting=quoting, skipinitialspace=True)
    next(rows)
    for row in filter(None, rows):
        if len(row) <= max(name, caption):
            raise UserError(f"line {rows.line_num}: {len(row)} columns, not {width}")
        # A caption in the last column may hold the delimiter.
        texts = row[caption:] if caption == width - 1 else [row[caption]]
        yield row[name].strip(), [f"{delimiter} ".join(texts)]


def _rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """The name of a picture and its captions, for each line of JSON."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"line {number}: not JSON ({error})") from None
            where = f"line {number}"
            name, texts = (_first_of(row, keys, where) for keys in (NAMES, (*TEXTS, "captions")))
            texts = [texts] if isinstance(texts, str) else _check(texts, list, where)
            yield _check(name, str, where), [_check(each, str, where) for each in texts]


def _first_of(row: Any, keys: tuple[str, ...], where: str) -> Any:
    found = [key for key in keys if isinstance(row, dict) and key in row]
    return _get(row, found[0] if found else keys[1], object, where)


def _gather(rows: Iterable[tuple[str, list[str]]]) -> dict[str, list[Picture]]:
    """All captions of a picture, which may stand on several lines."""
    captions: dict[str, list[str]] = {}
    for name, texts in rows:
        captions.setdefault(name, []).extend(texts)
    return {WHOLE: [Picture(name, tuple(texts)) for name, texts in captions.items()]}


# ---------------------------------------------------------------- JSON


def _read_json(content: Any) -> dict[str, list[Picture]]:
    keys = set(content) if isinstance(content, dict) else set()
    if {"images", "annotations"} <= keys:
        return _coco(content)
    if "images" in keys:
        return _karpathy(content)
    if "train" in keys:
        return _plain(content)
    found = f"the keys {', '.join(sorted(keys)[:5])}" if keys else "no object with keys"
    raise UserError(f"{found}; expected {LAYOUTS}")


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
    names: dict[int | str, str] = {}
    captions: dict[int | str, list[str]] = {}
    for item, where in _items(content, "images"):
        key = _get(item, "id", int | str, where)
        if key in names:
            raise UserError(f"{where}: another image has the id {key} too")
        names[key] = _get(item, "file_name", str, where)
        captions[key] = []
    for item, where in _items(content, "annotations"):
        key = _get(item, "image_id", int | str, where)
        if key not in captions:
            raise UserError(f"{where}: no image has the id {key}")
        captions[key].append(_get(item, "caption", str, where))
    return {WHOLE: [Picture(name, tuple(captions[key])) for key, name in names.items()]}


def _items(item: Any, key: str, where: str = "") -> list[tuple[Any, str]]:
    """The elements of the list under `key`, and how to call each of them."""
    place = f"{where}['{key}']" if where else key
    return [(each, f"{place}[{i}]") for i, each in enumerate(_get(item, key, list, where))]


def _get(item: Any, key: str, kind: Any, where: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise UserError(f"{where} has no '{key}'; expected {LAYOUTS}")
    return _check(item[key], kind, f"{where}['{key}']" if where else key)


def _check(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind):
        expected = getattr(kind, "__name__", kind)
        raise UserError(f"{where} is of type {type(value).__name__}, not {expected}")
    return value
