"""Values in JSON: what JSON has not stands as ``{"$base64": …}``, ``{"$date": …}``, ``{"$id": …}``, ``{"$number": "NaN"}``.

What is read never names a file of the server's: payloads come as bytes, as parts of the request, or by the id of an
artifact that is stored already.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from superduper.components.datatype import DataType
from superduper.document import Encoded
from superduper.embedded.formats import plain
from superduper.embedded.view import Handle
from superduper.errors import QueryError, SchemaMismatch
from superduper.server.access import TooLarge

if TYPE_CHECKING:
    from superduper.components.table import Table
    from superduper.datalayer import Datalayer

Row = dict[str, Any]


# Out


def shown(value: Any) -> Any:
    """The value as JSON has it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$number": str(value)}
    if isinstance(value, Mapping):
        return {str(key): shown(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [shown(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Handle):
        return {"$type": value.type, "$size": value.size, "$id": value.id}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$base64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):
        return shown(value.tolist())
    return str(value)


def dumps(value: Any) -> bytes:
    """The value as bytes of JSON."""
    return json.dumps(shown(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


# In


def loads(text: str | bytes, where: str) -> Any:
    """JSON, dates and bytes in it restored. Raises QueryError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QueryError(f'{where}: not JSON: {error}; write it as {{"x": {{"$gt": 3}}}}') from error
    return restored(found, where)


def restored(value: Any, where: str) -> Any:
    """``{"$date": …}`` and ``{"$base64": …}`` at any depth as what they say. Raises QueryError."""
    if isinstance(value, list):
        return [restored(part, where) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, said),) = value.items()
        if key == "$date":
            try:
                return datetime.fromisoformat(str(said))
            except ValueError as error:
                raise QueryError(f"{where}: $date: {said!r} is no date as 2024-05-01T12:00:00Z") from error
        if key == "$base64":
            return _bytes(said, where, QueryError)
        if key == "$number":
            return float(said)
    return {key: restored(part, where) for key, part in value.items()}


def _bytes(said: Any, where: str, kind: type[Exception]) -> bytes:
    try:
        return base64.b64decode(said, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise kind(f"{where}: $base64 takes bytes in base64: {error}") from error


class Reader:
    """Makes rows of JSON what a table's fields take. Use it as a context: files of its own live as long."""

    def __init__(self, db: Datalayer, table: Table | None, limit: int) -> None:
        self.db, self.limit = db, limit
        self.fields = {} if table is None else table.schema.fields
        self._stack = ExitStack()
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        """A folder for files on their way into the store."""
        if self._folder is None:
            self._folder = self._stack.enter_context(folder_of_uploads(self.db))
        return self._folder

    def row(self, row: Any, where: str) -> Row:
        """A row. Raises SchemaMismatch, beginning with ``where``."""
        if not isinstance(row, dict):
            raise SchemaMismatch(f"{where}: a row must be a JSON object, not {type(row).__name__}")
        return {name: self.value(name, value, where) for name, value in row.items()}

    def value(self, name: str, value: Any, where: str) -> Any:
        """One field's value."""
        kind = self.fields.get(name)
        where = f"{where}: field {name!r}"
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("$base64", "$id", "$date", "$number"):
            return self._special(kind, next(iter(value)), next(iter(value.values())), where)
        if isinstance(value, dict) and {"$id", "$type"} <= value.keys():
            # As rows are shown.
            return self._special(kind, "$id", value["$id"], where)
        if not isinstance(kind, DataType):
            return value if kind is None else plain(kind, value, where)
        if isinstance(value, str) and kind.codec not in ("text", "json", "pickle"):
            raise SchemaMismatch(
                f'{where}: a value of DataType {kind.identifier!r} is given as {{"$base64": …}}, as {{"$id": …}} of a '
                "stored artifact, or as a file part of a multipart request; a text names no file here"
            )
        return value

    def payload(self, name: str, path: Path, where: str) -> Any:
        """A field's value that lies in a file of the request."""
        kind = self.fields.get(name)
        if isinstance(kind, DataType) and kind.is_file:
            return str(path)
        self._bounded(path.stat().st_size, where)
        data = path.read_bytes()
        return Encoded(data) if isinstance(kind, DataType) else data

    def _special(self, kind: Any, key: str, said: Any, where: str) -> Any:
        if key == "$date":
            return restored({key: said}, where)
        if key == "$number":
            return float(said)
        if key == "$base64":
            data = _bytes(said, where, SchemaMismatch)
            if isinstance(kind, DataType) and kind.is_file:
                raise SchemaMismatch(f'{where}: a file is given as a part of a multipart request, or as {{"$id": …}}')
            return Encoded(data) if isinstance(kind, DataType) else data
        if not isinstance(kind, DataType) or not isinstance(said, str):
            raise SchemaMismatch(
                f"{where}: $id names an artifact, and this field is of no DataType that is kept as one"
            )
        if kind.is_file:
            return str(self.db.artifacts.checkout(said, self.folder))
        self._bounded(self.db.artifacts.size(said), where)
        return Encoded(self.db.artifacts.get(said))

    def _bounded(self, size: int, where: str) -> None:
        if size > self.limit:
            raise TooLarge(
                f"{where}: {size:,} bytes, and a row's payloads have at most {self.limit:,} here; keep what is larger in a "
                "field of a file DataType, which is streamed"
            )


class folder_of_uploads:  # noqa: N801 - a context, read as a word
    """A folder below the home folder that is removed afterwards."""

    def __init__(self, db: Datalayer) -> None:
        self._base = Path(db.settings.home) / "uploads"

    def __enter__(self) -> Path:
        self._base.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=self._base))
        return self._folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def clear_uploads(db: Datalayer) -> None:
    """Remove what a server that was killed left behind."""
    shutil.rmtree(Path(db.settings.home) / "uploads", ignore_errors=True)
