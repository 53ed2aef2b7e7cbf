"""References: the texts that stand in a row for an artifact.

    &:blob:<hex>    bytes
    &:file:<hex>    a file or a directory, kept as a tree

``<hex>`` is 40 (SHA-1) or 64 (SHA-256) lowercase hexadecimal digits and nothing else. Only a schema says that a
field holds a reference; a text that happens to look like one is a text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

from superduper.errors import InvalidReference

__all__ = ["Kind", "Reference", "blob", "check_id", "file", "parse", "raw_ids"]

Kind = Literal["blob", "file"]

_ID = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})", re.ASCII)
_REFERENCE = re.compile(r"&:(blob|file):([0-9a-f]{40}|[0-9a-f]{64})", re.ASCII)


class Reference(NamedTuple):
    """What a reference names: ``kind`` is ``blob`` or ``file``, ``id`` the hexadecimal digest."""

    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"&:{self.kind}:{self.id}"


def check_id(id: str) -> str:
    """The id itself, if it is 40 or 64 lowercase hexadecimal digits; else InvalidReference."""
    if not isinstance(id, str) or _ID.fullmatch(id) is None:
        raise InvalidReference(
            "an id is 40 or 64 lowercase hexadecimal digits; pass the id that `put` returned", reference=repr(id)[:100]
        )
    return id


def raw_ids(ids: Sequence[str]) -> list[bytes]:
    """The digests themselves of many ids, checked as ``check_id`` does."""
    try:
        raws = list(map(bytes.fromhex, ids))
        if [raw.hex() for raw in raws] == ids and {20, 32}.issuperset(map(len, raws)):
            return raws
    except (TypeError, ValueError):
        pass
    return [bytes.fromhex(check_id(id)) for id in ids]


def blob(id: str) -> str:
    """The reference to bytes."""
    return f"&:blob:{check_id(id)}"


def file(id: str) -> str:
    """The reference to a file or directory."""
    return f"&:file:{check_id(id)}"


def parse(text: str) -> Reference:
    """Read a reference. Raises InvalidReference for anything that is not exactly one."""
    found = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise InvalidReference(
            "this is no reference: it must read &:blob:<hex> or &:file:<hex>, with 40 or 64 lowercase hexadecimal digits",
            reference=repr(text)[:100],
        )
    return Reference(cast(Kind, found[1]), found[2])
