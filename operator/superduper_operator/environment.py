"""What a container is configured by: variables with plain values, and with values that stay in a Secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True, order=True)
class SecretKey:
    """One key of a Secret. The operator names it; only the pod reads it."""

    secret: str
    key: str


Value: TypeAlias = str | SecretKey
Environment: TypeAlias = dict[str, Value]


def to_env(environment: Mapping[str, Value]) -> list[dict[str, Any]]:
    """A container's ``env``, in the order of the names."""
    return [
        {"name": name, "value": value}
        if isinstance(value, str)
        else {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
        for name, value in sorted(environment.items())
    ]


def to_env_from(secrets: Iterable[str]) -> list[dict[str, Any]]:
    """A container's ``envFrom``: every key of these Secrets is a variable."""
    return [{"secretRef": {"name": name}} for name in dict.fromkeys(secrets)]
