"""YAML that remembers the line of each field, and refuses what manifests have no use for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands in a document: keys and positions."""

MAX_BYTES = 8 * 1024 * 1024
"""A longer text is refused: a Kubernetes object is at most 1.5 MB."""
MAX_VALUES = 100_000
"""A document with more values, each use of an alias counted, is refused."""
MAX_DEPTH = 64
"""Deeper nesting is refused."""

# libyaml reads and composes some ten times faster; the nodes and marks are the same.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = "tag:yaml.org,2002:"
_AS_TEXT = {_PREFIX + name for name in ("str", "timestamp", "value")}
_SCALARS = {_PREFIX + name for name in ("null", "bool", "int", "float")}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, on which line (from 1)."""

    line: int
    message: str


@dataclass(slots=True)
class Document:
    """One document: plain values, the line of each path, and the problems met on the way."""

    value: Any
    line: int
    last_line: int
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """Line of the field at that path, or of the nearest field around it."""
        return line_of(self.lines, path, self.line)


def line_of(lines: Mapping[Path, int], path: Path, default: int) -> int:
    """Line of that path, or of the nearest one around it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, default)


def documents(text: str) -> Iterator[Document]:
    """The documents of a YAML text, empty ones included; a syntax error ends the last one as its problem."""
    if len(text) > MAX_BYTES:
        yield _broken(1, f"the file is longer than {MAX_BYTES // 1024 // 1024} MiB")
        return
    if deep := _too_deep(text):
        yield _broken(deep, f"nested deeper than {MAX_DEPTH} levels")
        return
    # Composing recurses, so depth is bounded on the events beforehand; constructing is done here, with lines.
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            yield _Reader().document(node)
    except yaml.YAMLError as error:
        yield _syntax_error(error)
    finally:
        loader.dispose()


def _broken(line: int, message: str) -> Document:
    return Document(None, line, line, problems=[Problem(line, message)])


def _syntax_error(error: yaml.YAMLError) -> Document:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    message = ", ".join(parts) or str(error)
    return _broken(mark.line + 1 if mark else 1, f"not valid YAML: {message}")


def _too_deep(text: str) -> int:
    """Line on which nesting exceeds the limit, or 0. Syntax errors are left to the composer."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    return int(event.start_mark.line) + 1  # type: ignore[union-attr]
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        pass
    return 0


class _TooMuchError(Exception):
    pass


class _Reader:
    """Turns one document's nodes into plain values."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.left = MAX_VALUES
        self.scalars = yaml.constructor.SafeConstructor()

    def document(self, node: yaml.Node) -> Document:
        line = node.start_mark.line + 1
        value = None
        try:
            value = self.value(node, ())
        except _TooMuchError:
            self.note(node, f"more than {MAX_VALUES:,} values or {MAX_DEPTH} levels, each use of an alias counted")
        # A block ends where the next token begins: at the start of a line that is no part of it.
        last = node.end_mark.line + (1 if node.end_mark.column else 0)
        return Document(value, line, last, self.lines, self.problems)

    def note(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(node.start_mark.line + 1, message))

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.left -= 1
        if self.left < 0 or len(path) > MAX_DEPTH:  # the second: an alias within its own anchor
            raise _TooMuchError
        if isinstance(node, yaml.MappingNode) and node.tag == _PREFIX + "map":
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _PREFIX + "seq":
            return self.sequence(node, path)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        self.note(node, f"the tag {node.tag!r} is not allowed: write plain maps, lists and texts")
        return None

    def scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag in _AS_TEXT:
            return node.value
        if node.tag in _SCALARS:
            try:
                return self.scalars.construct_object(node)
            except ValueError as error:
                self.note(node, f"{node.value!r} cannot be read as {node.tag.removeprefix(_PREFIX)}: {error}")
                return None
        self.note(node, f"the tag {node.tag!r} is not allowed: write plain maps, lists and texts")
        return None

    def sequence(self, node: yaml.SequenceNode, path: Path) -> list[Any]:
        items = []
        for position, item in enumerate(node.value):
            here = (*path, position)
            self.lines[here] = item.start_mark.line + 1
            items.append(self.value(item, here))
        return items

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node)
            if key is None:
                continue
            here = (*path, key)
            if key in items:
                self.note(key_node, f"the key {key!r} stands twice, first on line {self.lines[here]}")
                continue
            self.lines[here] = key_node.start_mark.line + 1
            items[key] = self.value(value_node, here)
        return items

    def key(self, node: yaml.Node) -> str | None:
        if isinstance(node, yaml.ScalarNode):
            # Digits are positions in `inputs`; JSON, which the cluster speaks, has no other keys than texts.
            if node.tag in _AS_TEXT or (node.tag == _PREFIX + "int" and node.value.isdigit()):
                return str(node.value)
            if node.tag == _PREFIX + "merge":
                self.note(node, "merge keys (<<) are not allowed: write the fields out")
                return None
            self.note(node, f"the key {node.value!r} is not a text: quote it")
            return None
        self.note(node, "a key must be a text")
        return None
