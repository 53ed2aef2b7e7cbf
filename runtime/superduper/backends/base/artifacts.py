"""The seam to an object store, as backends import it; it is defined in ``superduper.artifacts.seam``."""

from __future__ import annotations

from superduper.artifacts.seam import ArtifactStore, Buffer, ObjectInfo, Upload

__all__ = ["ArtifactStore", "Buffer", "ObjectInfo", "Upload", "check_key"]


def check_key(key: str) -> str:
    """The key itself, if it cannot leave the store's folder or prefix.

    Keys are made by the content layer; a forged one is a fault in a caller, never something to repair.
    """
    from superduper.errors import InvalidReference

    parts = key.split("/")
    if not key.isascii() or not all(p and not p.startswith(".") and _ALLOWED.issuperset(p) for p in parts):
        raise InvalidReference(
            "a key is made of letters, digits, '.', '_' and '-', in parts between '/' that do not start with '.'",
            reference=repr(key)[:100],
        )
    return key


_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
