"""Every error that this library raises on purpose.

    SuperduperError
    ├── ConfigError               a setting is unknown or has a wrong value
    ├── ManifestError             YAML or a spec is wrong: file, line and field are named
    ├── UriError                  a URI cannot be understood, or its scheme is unknown
    ├── MissingExtra              a package is not installed: the pip command is named
    ├── Unreachable               a database or store does not answer within its deadline
    ├── AccessDenied              wrong credentials, or a right is missing
    ├── NotFound                  a component, table, row key or version does not exist
    ├── AlreadyExists             something of that name exists and is not the same
    ├── InUse                     it cannot be removed: others depend on it
    ├── SchemaMismatch            a row or a table contradicts the schema
    ├── DuplicateKey              a row with that primary key exists
    ├── QueryError                a query that cannot be understood
    │   └── Unsupported           a query beyond what this backend declares it can
    ├── EncodeError               an encoder raised, or a value has the wrong type
    ├── DecodeError               a decoder raised, or what it was given is not what was stored
    ├── CodeError                 user code cannot be loaded: import, syntax, name
    ├── ModelError                training or predicting failed as a whole
    ├── VersionError              the store was written by a newer superduper
    ├── StoreError                the store refused a write: full disk, read-only, quota
    └── ArtifactError             a stored artifact
        ├── ArtifactMissing       no object has that id
        ├── ArtifactCorrupt       the stored bytes do not match their id
        ├── ArtifactCollision     two different payloads have one id
        └── InvalidReference      a text that is no reference stands where one belongs

Each says what was wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "ArtifactCollision",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactMissing",
    "CodeError",
    "ConfigError",
    "DecodeError",
    "DuplicateKey",
    "EncodeError",
    "InUse",
    "InvalidReference",
    "ManifestError",
    "MissingExtra",
    "ModelError",
    "NotFound",
    "QueryError",
    "SchemaMismatch",
    "StoreError",
    "SuperduperError",
    "Unreachable",
    "Unsupported",
    "UriError",
    "VersionError",
    "nearest",
]


class SuperduperError(Exception):
    """Base of all errors of this library."""


class ConfigError(SuperduperError):
    """A setting is unknown or has a wrong value."""


class ManifestError(SuperduperError):
    """A manifest or spec is wrong. The message starts with ``file:line: field.path:`` where known."""


class UriError(SuperduperError):
    """A URI cannot be understood, or its scheme is unknown."""


class MissingExtra(SuperduperError, ImportError):
    """A package is not installed."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        super().__init__(f"{what} needs the package {package!r}: pip install 'superduper[{extra}]'")
        self.package, self.extra = package, extra


class Unreachable(SuperduperError, ConnectionError):
    """A database or store does not answer within its deadline."""


class AccessDenied(SuperduperError):
    """Wrong credentials, or a right is missing."""


class NotFound(SuperduperError, LookupError):
    """A component, table, row or version does not exist."""


class AlreadyExists(SuperduperError):
    """Something of that name exists and is not the same."""


class InUse(SuperduperError):
    """It cannot be removed or changed: others depend on it."""


class SchemaMismatch(SuperduperError, ValueError):
    """A row or an existing table contradicts the schema."""


class DuplicateKey(SuperduperError, ValueError):
    """A row with that primary key exists. ``keys`` holds the offending keys where known."""

    def __init__(self, message: str, keys: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.keys = keys


class QueryError(SuperduperError, ValueError):
    """A query that cannot be understood."""


class Unsupported(QueryError):
    """A query or operation beyond what this backend declares it can."""


class EncodeError(SuperduperError, ValueError):
    """An encoder raised, or a value has the wrong type. Nothing was stored."""


class DecodeError(SuperduperError, ValueError):
    """A decoder raised, or what it was given is not what was stored."""


class CodeError(SuperduperError):
    """User code cannot be loaded: import path, syntax or name.

    ``part`` is the field of the code that is wrong, as ``source``, and ``line`` the line of the source, where known.
    """

    def __init__(self, problem: str, *, where: str = "", part: str = "", line: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.where, self.part, self.line = problem, where, part, line

    def at(self, where: str) -> CodeError:
        """The same error, saying also whose code it is."""
        self.where = where
        return self

    def __str__(self) -> str:
        place = ".".join(filter(None, (self.where, self.part)))
        line = f"line {self.line}" if self.line is not None else ""
        return ": ".join(filter(None, (place, line, self.problem)))


class ModelError(SuperduperError):
    """Training, predicting or validating failed as a whole."""


class VersionError(SuperduperError):
    """The store was written by a newer superduper."""


class StoreError(SuperduperError, OSError):
    """The store refused a write: full disk, read-only, quota."""


class ArtifactError(SuperduperError):
    """A stored artifact: which, in which store and, where known, of which table and row."""

    def __init__(self, problem: str, *, reference: str, store: str = "", table: str = "", row: object = None) -> None:
        super().__init__(problem)
        self.problem, self.reference, self.store = problem, reference, store
        self.table, self.row = table, row

    def at(self, table: str, row: object) -> ArtifactError:
        """The same error, saying also of which row it is."""
        self.table, self.row = table, row
        return self

    def __str__(self) -> str:
        where = [f"artifact {self.reference}"]
        if self.store:
            where.append(f"in {self.store}")
        if self.table:
            where.append(f"of table {self.table!r}, row {self.row!r}")
        return f"{' '.join(where)}: {self.problem}"


class ArtifactMissing(ArtifactError, LookupError):
    """No object has that id."""


class ArtifactCorrupt(ArtifactError):
    """The stored bytes do not match their id."""


class ArtifactCollision(ArtifactError):
    """Two different payloads have one id."""


class InvalidReference(ArtifactError, ValueError):
    """A text that is no reference stands where one belongs."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` with the nearest known word, or an empty text."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
