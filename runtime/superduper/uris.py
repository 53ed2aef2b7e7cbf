"""URIs as they may be shown, and made independent of the working folder."""

from __future__ import annotations

import re
from os.path import normpath
from pathlib import Path
from urllib.parse import quote

_SECRET = re.compile(r"([?&][^=&#]*(?:password|passwd|secret|token)[^=&#]*=)[^&#]*", re.IGNORECASE)
"""A parameter of a URI that is a secret, as drivers take it: ``?password=…``."""


def without_password(uri: str) -> str:
    """The URI with its password replaced by ``***``; also where it was not escaped as it should, or is a parameter."""
    scheme, mark, rest = uri.partition("://")
    login, at, host = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    shown = f"{scheme}{mark}{user}{colon}{'***' if colon else ''}{at}{host}"
    return _SECRET.sub(r"\1***", shown)


def anchored(uri: str, base: Path) -> str:
    """The URI with its relative path made absolute from ``base``: file, filesystem, sqlite and duckdb; others as given."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in ("file", "filesystem", "sqlite", "duckdb"):
        return uri
    if scheme not in ("sqlite", "duckdb"):
        return uri if rest.startswith("/") else f"{scheme}://{(base / rest).resolve()}"
    if rest in ("", ":memory:", "/:memory:") or rest.startswith("//"):
        return uri
    # The given part is quoted already, as URIs are; the folder's own name is not.
    path = normpath(f"{quote(str(base.resolve()))}/{rest.removeprefix('/')}")
    return f"{scheme}:////{path.lstrip('/')}"
