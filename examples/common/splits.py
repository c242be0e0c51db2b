"""Splits by a hash of each item, which stay the same when items are added or removed."""

import hashlib


def hash_share(key: str) -> float:
    """A number in [0, 1) that depends only on `key`; evenly distributed."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2.0**64


def split_by_hash(items, key, dev=None, test=None, dev_share=0.05, test_share=0.1):
    """Returns training, development and test items, split by a hash of `key(item)`.

    `dev` and `test` are kept as they are if given, and nothing is split off for them.
    """
    test_end = 0.0 if test is not None else test_share
    dev_end = test_end + (0.0 if dev is not None else dev_share)
    shares = [(hash_share(key(item)), item) for item in items]
    return (
        [item for share, item in shares if share >= dev_end],
        [item for share, item in shares if test_end <= share < dev_end] if dev is None else dev,
        [item for share, item in shares if share < test_end] if test is None else test,
    )
