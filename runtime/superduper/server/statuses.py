"""Which HTTP status says which error of ours."""

from __future__ import annotations

from superduper.errors import (
    AccessDenied,
    AlreadyExists,
    ArtifactCollision,
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    ConfigError,
    DecodeError,
    DuplicateKey,
    EncodeError,
    InUse,
    InvalidReference,
    ManifestError,
    MissingExtra,
    NotFound,
    QueryError,
    SchemaMismatch,
    StoreError,
    SuperduperError,
    Unreachable,
    UriError,
    VersionError,
)

STATUSES: tuple[tuple[type[BaseException], int], ...] = (
    (InvalidReference, 400),
    (ArtifactMissing, 404),
    (ArtifactCollision, 409),
    (ArtifactCorrupt, 507),
    (ArtifactError, 507),
    (NotFound, 404),
    (AlreadyExists, 409),
    (DuplicateKey, 409),
    (InUse, 409),
    (SchemaMismatch, 422),
    (EncodeError, 422),
    (ManifestError, 422),
    (QueryError, 400),
    (ConfigError, 400),
    (UriError, 400),
    (DecodeError, 422),
    (AccessDenied, 502),
    (Unreachable, 503),
    (StoreError, 507),
    (MissingExtra, 501),
    (VersionError, 501),
    (SuperduperError, 422),
    (KeyError, 404),
)
"""The first that fits counts."""


def status_of(error: BaseException) -> int:
    """The status; 500 for what is no error of ours."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
