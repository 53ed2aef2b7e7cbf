"""Kubernetes' quantities of bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

_UNITS: dict[str, Decimal | int] = {
    "": 1,
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}


def parse(quantity: str) -> int:
    """Bytes. Raises ValueError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", quantity)
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{quantity!r} is no quantity; write one as 10Gi")
    return int(Decimal(found[1]) * _UNITS[found[2]])


def total(quantities: Sequence[str]) -> str | None:
    """Their sum; None where there is none. A single one is left as it is written."""
    if len(quantities) < 2:
        return quantities[0] if quantities else None
    found = sum(map(parse, quantities))
    return f"{-(-found // 2**30)}Gi" if found % 2**30 == 0 else f"{-(-found // 2**20)}Mi"
