"""Names of children: readable, within Kubernetes' lengths, and never two alike."""

from __future__ import annotations

import hashlib
import re
from typing import Final

DNS_LABEL: Final = 63
"""Longest name of a Service, and longest value of a label."""
RAY_JOB: Final = 47
"""Longest name of a RayJob: KubeRay appends to it for the cluster's Services."""
STATEFUL_SET: Final = 52
"""Longest name of a StatefulSet: the label with its revision appends 11 characters."""
DIGEST: Final = 8


def child(*parts: str, limit: int = DNS_LABEL) -> str:
    """The parts joined by ``-``, as a DNS-1035 name of at most ``limit`` characters.

    What is too long is cut and given 8 hexadecimal digits of the whole; so is what had to be changed (a dot, a digit
    at its start), so that two parents never share a child.
    """
    whole = "-".join(parts)
    plain = re.sub(r"[^a-z0-9-]+", "-", whole.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"x-{plain}"
    if plain == whole and len(plain) <= limit:
        return plain
    digest = hashlib.sha256(whole.encode()).hexdigest()[:DIGEST]
    return f"{plain[: limit - DIGEST - 1].rstrip('-')}-{digest}"


def job(model: str, key: str) -> str:
    """The name of a job of that model for that work: ``<model>-<8 hex>``, at most 47 characters.

    ``key`` says which work (16 hexadecimal digits from the datalayer server): the same work has the same name.
    """
    digest = hashlib.sha256(f"{model}/{key}".encode()).hexdigest()[:DIGEST]
    return f"{child(model, limit=RAY_JOB - DIGEST - 1)}-{digest}"
