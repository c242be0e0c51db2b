"""Pictures and their captions: finding the pictures of caption files, and splitting them."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from examples.captioning import layouts
from examples.captioning.images import Images, open_images
from examples.captioning.layouts import Picture
from examples.captioning.tokenizer import normalize
from examples.common.errors import UserError
from examples.common.splits import split_by_hash


class Splits(NamedTuple):
    """Pictures for training, for choosing the best epoch, and for the test; notes on omissions."""

    train: list[Picture]
    dev: list[Picture]
    test: list[Picture]
    notes: tuple[str, ...] = ()


def load(images: Path, *captions: Path, skip_missing: bool = False) -> Splits:
    """The pictures of the files `captions` that are in `images`, split for training.

    Of several files in a layout without splits each is the split that its name tells. Without a
    test split, the dev split becomes the test split. Missing splits are taken from the training
    split by a hash of the pictures' names: 5 % dev, 10 % test.
    """
    known = set(open_images(images).names())
    splits, notes = _read_all(images, captions, known)
    told = ", ".join(map(str, captions))
    counts = Counter(picture.name for split in splits.values() for picture in split)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"{told}: {len(twice)} pictures are listed twice, {_some(twice)}")

    missing = [name for name in counts if name not in known]
    if missing:
        problem = f"{len(missing)} pictures of {told} are not in {images}, {_some(missing)}"
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


def _read_all(
    images: Path, captions: tuple[Path, ...], known: set[str]
) -> tuple[dict[str, list[Picture]], list[str]]:
    """The splits of all files, with the names that the pictures have in `images`, and notes."""
    locate, root = _locator(known), images.resolve()
    splits: dict[str, list[Picture]] = {}
    listed: dict[str, str] = {}  # the split of each name in a file of names alone
    for path in captions:
        here = path.resolve().parent
        folder = here.relative_to(root).as_posix() if here.is_relative_to(root) else ""
        for split, pictures in layouts.read(path).items():
            if split == layouts.WHOLE:
                split = layouts.split_of(path) if len(captions) > 1 else "train"
            located = [p._replace(name=locate(p.name, folder)) for p in pictures]
            if len(captions) > 1 and not any(p.captions for p in located):
                listed |= {p.name: split for p in located}
            else:
                splits.setdefault(split, []).extend(located)
    if not listed:
        return splits, []
    pictures = [p for split in splits.values() for p in split]
    splits = {
        split: [p for p in pictures if listed.get(p.name) == split]
        for split in dict.fromkeys(listed.values())
    }
    others = sum(p.name not in listed for p in pictures)
    return splits, [f"left out: {others} pictures that no list of names has"] if others else []


def _locator(known: set[str]) -> Callable[[str, str], str]:
    """A function from a name in a caption file, and the file's folder, to the picture's name."""
    by_end: dict[str, list[str]] = {}
    for name in known:
        by_end.setdefault(PurePosixPath(name).name, []).append(name)

    def locate(name: str, folder: str) -> str:
        for same in (f"{folder}/{name}", name):
            if same in known:
                return same
        # Where one of two paths is the other's end.
        near = by_end.get(PurePosixPath(name).name, [])
        found = [n for n in near if f"/{n}".endswith(f"/{name}") or name.endswith(f"/{n}")]
        return found[0] if len(found) == 1 else name

    return locate


def leave_out(splits: Splits, names: list[str], reason: str) -> Splits:
    """The splits without these pictures, which cannot be decoded, and why the first cannot."""
    left_out = set(names)
    kept = {
        name: [picture for picture in getattr(splits, name) if picture.name not in left_out]
        for name in ("train", "dev", "test")
    }
    note = f"left out: {len(names)} pictures that cannot be decoded, {_some(names)} ({reason})"
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


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
