"""URIs as they may be shown."""

from __future__ import annotations


def without_password(uri: str) -> str:
    """The URI with its password replaced by ``***``; also where the password was not escaped as it should."""
    scheme, mark, rest = uri.partition("://")
    login, at, host = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{mark}{user}{colon}{'***' if colon else ''}{at}{host}"
