"""Kubernetes' quantities. Pure, and below everything else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

SUFFIXES: Final = {
    **dict(zip(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), (Decimal(1024) ** n for n in range(1, 7)), strict=True)),
    **dict(zip(("k", "M", "G", "T", "P", "E"), (Decimal(1000) ** n for n in range(1, 7)), strict=True)),
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
    "": Decimal(1),
}
NUMBER: Final = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")


def number(quantity: object) -> Decimal | None:
    """What it comes to (``500m`` is 0.5); None where it is no quantity."""
    found = NUMBER.fullmatch(str(quantity))
    if found is None or found[2] not in SUFFIXES:
        return None
    try:
        return Decimal(found[1]) * SUFFIXES[found[2]]
    except InvalidOperation:
        return None


def parse(quantity: str) -> int:
    """Bytes. Raises ValueError."""
    found = number(quantity)
    if found is None or found < 0:
        raise ValueError(f"{quantity!r} is no quantity; write one as 10Gi")
    return int(found)


def total(quantities: Sequence[str]) -> str | None:
    """Their sum; None where there is none. A single one is left as it is written."""
    if len(quantities) < 2:
        return quantities[0] if quantities else None
    found = sum(map(parse, quantities))
    return f"{-(-found // 2**30)}Gi" if found % 2**30 == 0 else f"{-(-found // 2**20)}Mi"
