"""What the API server answers when it does not do as asked.

    ApiError                 status, reason and message of the answer, the verb and the object asked for
    ├── NotFound             404: no such object, or its kind is not installed
    ├── Conflict             409: somebody changed the object meanwhile; trying again mends it
    ├── AlreadyExists        409: an object of that name exists
    ├── Forbidden            403: a right is missing, named in the message
    ├── Invalid              422 or 400: the API server refuses the object
    │   └── Immutable        422: a field that nobody may change after creation
    ├── Taken                an object of that name exists and belongs to somebody else
    ├── Gone                 410: the version to watch from is no longer kept; the informer lists anew
    └── Unavailable          429, 5xx, timeout or no connection; trying again may mend it

Each says what was wrong, where, and what to do.
"""

from __future__ import annotations


class ApiError(Exception):
    """The API server's refusal. ``status`` is the HTTP status, 0 where there was no answer."""

    def __init__(
        self, message: str, *, status: int = 0, verb: str = "", what: str = "", retry_after: float | None = None
    ):
        super().__init__(message)
        self.message = message
        self.status = status
        self.verb = verb
        self.what = what
        self.retry_after = retry_after


class NotFound(ApiError):
    """No such object, or its kind is not installed."""


class Conflict(ApiError):
    """Somebody changed the object meanwhile."""


class AlreadyExists(ApiError):
    """An object of that name exists."""


class Forbidden(ApiError):
    """A right is missing."""


class Invalid(ApiError):
    """The API server refuses the object."""


class Immutable(Invalid):
    """A field that nobody may change after creation."""


class Taken(ApiError):
    """An object of that name exists and belongs to somebody else."""


class Unavailable(ApiError):
    """The API server does not answer, or asks to wait. ``retry_after``: seconds that it asked for, or None."""


class Gone(ApiError):
    """410: the version to watch from is no longer kept; list anew."""
