"""Splits by a hash of each item, which stay the same when items are added or removed."""

import hashlib


def hash_share(key: str) -> float:
    """A number in [0, 1) that depends only on `key`; evenly distributed."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2.0**64


def split_by_hash(key: str, test: float = 0.1, dev: float = 0.05) -> str:
    """The split of an item, "test", "dev" or "train", by the shares of the first two."""
    share = hash_share(key)
    return "test" if share < test else "dev" if share < test + dev else "train"
