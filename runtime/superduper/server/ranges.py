"""``Range`` and ``If-None-Match`` of HTTP (RFC 9110), as far as one part is asked for."""

from __future__ import annotations

import re

_ONE = re.compile(r"^bytes=\s*(\d*)\s*-\s*(\d*)\s*$")


class Unsatisfiable(ValueError):
    """The range lies beyond the end."""


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and length of the part that is asked for; None for the whole. Raises Unsatisfiable.

    What is no range of bytes, or several of them, is answered by the whole, as the standard allows.
    """
    found = _ONE.match(header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise Unsatisfiable(f"the last {last} bytes of {size} are none")
        return size - length, length
    start = int(first)
    end = size - 1 if not last else min(int(last), size - 1)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable(f"byte {start:,} lies beyond the end: there are {size:,}")
    return start, end - start + 1


def is_known(header: str | None, id: str) -> bool:
    """Whether a list of entity tags has that of the id."""
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in (header or "").split(",")]
    return id in tags or tags == ["*"]
