"""From files to documents, by the fields that a table declares.

==========  =====================================================================================================
format      a row is
==========  =====================================================================================================
`files`     a file. The primary key is its path within the folder; fields of a DataType hold its content; plain
            fields are filled by name: `path`, `name`, `stem`, `suffix`, `folder` (the last folder's name, often the
            label), `size` (bytes), `modified`
`jsonl`     a line with a JSON object
`csv`       a line below the header; an empty cell is null, unless the field is a `str`
`parquet`   a row
==========  =====================================================================================================

Texts become what the field's type says. In jsonl, csv and parquet a text in a field of a DataType that is no text
or JSON names a file within the source's folder, whose bytes are the encoded value.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from superduper.components.datatype import DataType
from superduper.components.table import Table
from superduper.document import Encoded
from superduper.embedded.folders import Entry, Folder
from superduper.errors import ManifestError, MissingExtra, SchemaMismatch, nearest

Row = dict[str, Any]
SUFFIXES = {"jsonl": (".jsonl", ".ndjson"), "csv": (".csv",), "parquet": (".parquet",)}


class Fields:
    """Makes values what a table's fields say. Local copies of remote files live until ``release``."""

    def __init__(self, folder: Folder, table: Table) -> None:
        self.folder, self.table, self.fields = folder, table, table.schema.fields
        self._copies = ExitStack()

    def release(self) -> None:
        """Remove local copies of files of rows that are stored."""
        self._copies.close()

    def row(self, row: Mapping[str, Any], where: str) -> Row:
        """The row with texts as the fields' types say, and files read. Raises SchemaMismatch, beginning with ``where``."""
        return {name: self.value(name, value, where) for name, value in row.items()}

    def value(self, name: str, value: Any, where: str) -> Any:
        """One field's value."""
        kind = self.fields.get(name)
        if kind is None:
            return value
        if not isinstance(kind, DataType):
            return plain(kind, value, f"{where}: field {name!r}")
        if isinstance(value, str) and kind.codec not in ("text", "json"):
            return self.content(kind, value)
        return Encoded(value) if isinstance(value, bytes) and not kind.is_file else value

    def content(self, kind: DataType, path: str) -> Any:
        """What a file holds, as a field of this DataType takes it."""
        if kind.is_file:
            return str(self._copies.enter_context(self.folder.local(path)))
        return Encoded(self.folder.read(path))


class Reader(Fields):
    """Reads one source for one table."""

    def __init__(self, folder: Folder, file: str | None, kind: str, table: Table) -> None:
        super().__init__(folder, table)
        self.format = kind
        chosen = [entry for entry in folder.entries() if file is None or entry.path == file]
        if kind != "files" and file is None:
            chosen = [entry for entry in chosen if entry.path.endswith(SUFFIXES[kind])]
        if not chosen:
            raise SchemaMismatch(f"{folder.root}: no {kind} in this folder")
        self.entries: list[Entry] = chosen

    @property
    def total(self) -> int | None:
        """How many rows there will be, where that is known beforehand."""
        return len(self.entries) if self.format == "files" else None

    def rows(self) -> Iterator[tuple[str, Row]]:
        """The documents, each with its file and line. Raises SchemaMismatch, naming these."""
        if self.format == "files":
            self._check_fields()
            yield from ((f"{self.folder.root}/{entry.path}", self._file(entry)) for entry in self.entries)
            return
        read: Callable[[Entry], Iterator[tuple[str, Row]]] = getattr(self, f"_{self.format}")
        for entry in self.entries:
            yield from read(entry)

    def _check_fields(self) -> None:
        known = ("path", "name", "stem", "suffix", "folder", "size", "modified")
        if not any(isinstance(kind, DataType) for kind in self.fields.values()):
            raise ManifestError(
                f"Table {self.table.identifier!r}: format files needs a field of a DataType that holds the files' content"
            )
        for name, kind in self.fields.items():
            if not isinstance(kind, DataType) and name not in (*known, self.table.primary_id):
                raise ManifestError(
                    f"Table {self.table.identifier!r}, field {name!r}: a file gives {', '.join(known)} and its content"
                    f"{nearest(name, known)}; for other fields use format jsonl, or source.rows"
                )

    def _file(self, entry: Entry) -> Row:
        path = PurePosixPath(entry.path)
        facts: Row = {
            "path": entry.path,
            "name": path.name,
            "stem": path.stem,
            "suffix": path.suffix,
            "folder": path.parent.name,
            "size": entry.size,
            "modified": datetime.fromtimestamp(entry.modified, UTC),
            self.table.primary_id: entry.path,
        }
        where = f"{self.folder.root}/{entry.path}"
        row = {self.table.primary_id: self.value(self.table.primary_id, entry.path, where)}
        for name, kind in self.fields.items():
            if isinstance(kind, DataType):
                row[name] = self.content(kind, entry.path)
            elif name in facts:
                row[name] = self.value(name, facts[name], where)
        return row

    def _jsonl(self, entry: Entry) -> Iterator[tuple[str, Row]]:
        with self.folder.open(entry.path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{self.folder.root}/{entry.path}:{number}"
                yield where, self.row(parse_line(line, where), where)

    def _csv(self, entry: Entry) -> Iterator[tuple[str, Row]]:
        with self.folder.open(entry.path) as file:
            lines = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            for row in lines:
                where = f"{self.folder.root}/{entry.path}:{lines.line_num}"
                if None in row or None in row.values():
                    raise SchemaMismatch(f"{where}: the line has not as many cells as the header")
                yield where, self.row({name: self._cell(name, text) for name, text in row.items()}, where)

    def _cell(self, name: str, text: str) -> Any:
        kind = self.fields.get(name, "str")
        if not text and kind != "str":
            return None
        codec = kind.codec if isinstance(kind, DataType) else None
        return json.loads(text) if codec == "json" or kind == "json" else text

    def _parquet(self, entry: Entry) -> Iterator[tuple[str, Row]]:
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise MissingExtra("pyarrow", "parquet", "format parquet") from error
        with self.folder.local(entry.path) as path, parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{self.folder.root}/{entry.path}, row {number}"
                    yield where, self.row(row, where)


def parse_line(line: bytes | str, where: str) -> Row:
    """One line of JSON lines. Raises SchemaMismatch."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise SchemaMismatch(f"{where}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise SchemaMismatch(f"{where}: a row must be a JSON object, not {type(found).__name__}")
    return found


def plain(kind: str, value: Any, where: str) -> Any:
    """A text as the type that a field has; other values as they are. Raises SchemaMismatch."""
    if not isinstance(value, str) or kind not in _FROM_TEXT:
        return value
    try:
        return _FROM_TEXT[kind](value)
    except ValueError as error:
        raise SchemaMismatch(f"{where}: {value!r:.60} is no {kind}") from error


def _bool(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": _bool,
    "datetime": datetime.fromisoformat,
    "bytes": lambda text: base64.b64decode(text, validate=True),
}
