"""A form (``multipart/form-data``) as it arrives: texts in memory, files in a folder."""

from __future__ import annotations

from email.message import Message
from pathlib import Path
from typing import IO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from superduper.errors import QueryError, StoreError
from superduper.server.access import TooLarge

PARTS = 256
"""Parts of a form at most."""
HEADER_BYTES = 16 << 10


class Form:
    """Takes a form apart, piece by piece. Each part's name may come once."""

    def __init__(self, content_type: str, folder: Path, limit: int) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise QueryError("the content type is multipart/form-data with a boundary, as curl -F makes it")
        self.texts: dict[str, bytes] = {}
        self.files: dict[str, Path] = {}
        self._folder, self._limit = folder, limit
        self._head: list[tuple[bytearray, bytearray]] = []
        self._name = ""
        self._file: IO[bytes] | None = None
        self._text = bytearray()
        self._done = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin, "on_header_begin": self._header,
                "on_header_field": lambda data, a, b: self._grow(0, data[a:b]),
                "on_header_value": lambda data, a, b: self._grow(1, data[a:b]),
                "on_headers_finished": self._headed, "on_part_data": self._data, "on_part_end": self._end,
                "on_end": self._over,
            },
        )  # fmt: skip

    def feed(self, chunk: bytes) -> None:
        """The next bytes. Raises QueryError where they are no form, TooLarge, StoreError where the disk is full."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise QueryError(f"the body is no form as multipart/form-data has it: {error}") from error
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"a file of the request cannot be kept for now: {error.strerror or error}") from error

    def end(self) -> None:
        """It is all there. Raises QueryError where it is not."""
        self._parser.finalize()
        if self._file is not None:
            self._file.close()
        if not self._done:
            raise QueryError("the form breaks off before its end")

    def _begin(self) -> None:
        self._head = []
        if len(self.texts) + len(self.files) >= PARTS:
            raise TooLarge(f"a form has at most {PARTS} parts")

    def _header(self) -> None:
        self._head.append((bytearray(), bytearray()))

    def _grow(self, place: int, data: bytes) -> None:
        self._head[-1][place].extend(data)
        if sum(len(name) + len(value) for name, value in self._head) > HEADER_BYTES:
            raise TooLarge("the header of a form's part is too long")

    def _headed(self) -> None:
        message = Message()
        for header, value in self._head:
            message[header.decode("latin-1")] = value.decode("utf-8", "surrogateescape")
        name = message.get_param("name", header="content-disposition")
        if not isinstance(name, str) or not name:
            raise QueryError("a part of the form has no name: it is the field's")
        if name in self.texts or name in self.files:
            raise QueryError(f"part {name!r} comes twice")
        self._name, self._text = name, bytearray()
        file = message.get_filename()
        if file is None:
            return
        # Never a path: what it is called is kept, where it lies is not the client's to say.
        last = file.replace("\\", "/").rpartition("/")[2].replace("\0", "")
        folder = self._folder / str(len(self.files))
        folder.mkdir()
        self.files[name] = folder / (last if last not in ("", ".", "..") else "file")
        self._file = self.files[name].open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > self._limit:
            raise TooLarge(f"part {self._name!r} is longer than {self._limit:,} bytes")

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        else:
            self.texts[self._name] = bytes(self._text)

    def _over(self) -> None:
        self._done = True
