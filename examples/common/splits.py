"""Splits that do not move: by a hash of what is split."""

import hashlib


def hash_share(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone, evenly spread."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2.0**64
