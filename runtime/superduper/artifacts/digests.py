"""Hashes: which there are, and which one made an id.

An id tells its algorithm by its length, so readers accept both at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol

from superduper.artifacts.seam import Buffer

__all__ = ["Hash", "Hasher", "hasher_of"]

Hash = Literal["sha1", "sha256"]


class Hasher(Protocol):
    """What hashlib's objects do."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


#: By the width of the digest in bytes. None is for secrecy: told so, SHA-1 also works where FIPS mode refuses it.
HASHERS: dict[int, Callable[..., Hasher]] = {20: partial(hashlib.sha1, usedforsecurity=False), 32: hashlib.sha256}
WIDTHS: dict[str, int] = {"sha1": 20, "sha256": 32}


def hasher_of(id: str) -> Callable[..., Hasher]:
    """The algorithm that made an id of 40 or 64 hexadecimal digits."""
    return HASHERS[len(id) // 2]
