"""Manifests: YAML files in, checked objects out, each problem with file, line and field path."""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import yaml
from pydantic import ValidationError

from superduper.api import references
from superduper.api.explain import dotted, explain
from superduper.api.located import Document, documents, line_of
from superduper.api.located import Path as FieldPath
from superduper.api.v1alpha1 import API_VERSION, KINDS, Datalayer, Model, Object, Spec, Table
from superduper.api.v1alpha1.common import Code, SecretKeyRef
from superduper.errors import ManifestError, nearest
from superduper.uris import anchored

STDIN = "-"
_BLOCK = re.compile(r":\s+\|[-+0-9]*\s*(#.*)?$")
"""A field whose text follows line by line."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object and where it was written.

    ``document`` counts from 1 within the file; ``line`` is the document's first; ``lines`` has the line of each
    field path; ``text`` is the document's YAML; relative paths in the object are relative to ``base``.
    """

    object: Object
    file: str
    document: int
    line: int
    lines: Mapping[FieldPath, int]
    text: str
    base: Path
    texts: Mapping[tuple[str, str, str], str] = field(default_factory=dict, repr=False)
    """Texts of the ConfigMaps and Secrets among the manifests, by kind, name and key."""

    @property
    def identifier(self) -> str:
        """Name inside the datalayer; of a Datalayer, its name."""
        return self.object.metadata.name if isinstance(self.object, Datalayer) else self.object.identifier

    @property
    def datalayer(self) -> str:
        """Name of the Datalayer that it belongs to, or is."""
        return references.datalayer(self.object)

    def problem(self, path: FieldPath, message: str) -> str:
        """A message in the form ``file:line: field.path: message``."""
        return f"{self.file}:{line_of(self.lines, path, self.line)}: {dotted(path)}: {message}"

    def problem_in(self, path: FieldPath, line: int, message: str) -> str:
        """A message about that line, from 1, of the text at the path."""
        key = line_of(self.lines, path, self.line)
        # A text in a block begins on the line below its field; another one may be folded in any way.
        header = self.text.splitlines()[key - self.line : key - self.line + 1]
        if header and _BLOCK.search(header[0]):
            return f"{self.file}:{key + line}: {dotted(path)}: {message}"
        return self.problem(path, f"line {line}: {message}")

    def resolve(self, uri: str) -> str:
        """The URI with its relative path made absolute from ``base``: file, filesystem and sqlite; others as given."""
        return anchored(uri, self.base)

    def secret(self, ref: SecretKeyRef, path: FieldPath = ("spec",)) -> str:
        """The text of a Secret that stands among the manifests. Raises ManifestError where there is none."""
        text = self.texts.get(("Secret", ref.name, ref.key))
        if text is None:
            message = f"no Secret {ref.name!r} with key {ref.key!r} among the manifests: add it, or give the uri itself"
            raise ManifestError(self.problem(path, message))
        return text

    def code(self, code: Code, path: FieldPath = ("spec",)) -> Code:
        """The same code with ``sourceFrom`` replaced by the text that it names: that of a ConfigMap among the
        manifests, else of the file of the key's name beside the manifest. Raises ManifestError where there is none.
        """
        if code.source_from is None:
            return code
        ref = code.source_from.config_map_key_ref
        text = self.texts.get(("ConfigMap", ref.name, ref.key))
        if text is None:
            try:
                text = (self.base / ref.key).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                message = f"no ConfigMap {ref.name!r} with key {ref.key!r} among the manifests, and no such file beside"
                raise ManifestError(self.problem(path, f"{message}: {error}")) from error
        try:
            return Code(source=text, callable=code.callable, args=code.args, kwargs=code.kwargs)
        except ValidationError as error:
            raise ManifestError(self.problem(path, f"{ref.key}: {error.errors()[0]['msg']}")) from error

    def inlined(self) -> Object:
        """The object with every ``sourceFrom`` replaced by its text. Raises ManifestError where there is none."""
        found = self.object
        for path, code in references.codes(found):
            if code.source_from is not None:
                found = references.with_value(found, path, self.code(code, path))
        return found

    def resolved(self) -> Object:
        """As ``inlined``, with the URIs of sources and model files made absolute: whatever is read beside it."""
        found = self.inlined()
        if isinstance(found, Table) and found.spec.source is not None and found.spec.source.uri is not None:
            source = found.spec.source.model_copy(update={"uri": self.resolve(found.spec.source.uri)})
            return references.with_value(found, ("spec", "source"), source)
        if isinstance(found, Model) and found.spec.artifact is not None:
            artifact = found.spec.artifact.model_copy(update={"uri": self.resolve(found.spec.artifact.uri)})
            return references.with_value(found, ("spec", "artifact"), artifact)
        return found


def load(
    paths: Sequence[str | Path], *, known: Mapping[str, Collection[str]] | None = None, stdin: TextIO | None = None
) -> list[Manifest]:
    """The objects in files, folders (``*.yaml`` and ``*.yml``, at any depth) and ``-`` (standard input).

    They come in the order in which they are to be applied. ``known`` has, per kind, names of objects that exist
    already: those of Datalayers, identifiers of the others. A List is as its items. ConfigMaps and Secrets may stand
    among the manifests for `sourceFrom` and `uriFrom`. Raises ManifestError with all problems, one per line; also where there is no object.
    """
    loader = _Loader()
    for path in paths:
        if "://" in str(path):
            loader.problems.append(f"{path}: URLs are not read; fetch it: curl -sSL {path} | superduper apply -f -")
            loader.lost = True
        elif str(path) == STDIN:
            loader.read("<stdin>", (stdin or sys.stdin).read(), Path.cwd())
        else:
            loader.read_path(Path(path))
    manifests = [replace(manifest, texts=loader.texts) for manifest in loader.manifests]
    problems = loader.problems + list(_duplicates(manifests)) + list(_missing_sources(manifests))
    if not loader.lost:
        # A reference to an object that was refused would be a second message about one mistake.
        there = {kind: {*(known or {}).get(kind, ()), *loader.refused[kind]} for kind in KINDS}
        problems += [m.problem(path, text) for m, path, text in references.broken(manifests, there)]
    ordered = manifests if problems else references.ordered(manifests)
    if ordered is None:
        problems.append("the models' tables form a circle: each reads the outputs of the next")
    if not manifests and not problems:
        read = ", ".join("<stdin>" if str(path) == STDIN else str(path) for path in paths)
        problems.append(f"no objects passed: there is no {', '.join(KINDS)} in {read}")
    if problems or ordered is None:
        raise ManifestError("\n".join(dict.fromkeys(problems)))
    return ordered


def dump(value: Spec | Mapping[str, Any]) -> str:
    """YAML in block style, texts of several lines as blocks; ``load`` reads the same object back."""
    plain = value.to_dict() if isinstance(value, Spec) else dict(value)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)


class _Dumper(yaml.SafeDumper):
    """Lists indented under their key, no anchors, texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow=flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


class _Loader:
    """Gathers manifests, the texts of ConfigMaps and Secrets, and problems."""

    def __init__(self) -> None:
        self.manifests: list[Manifest] = []
        self.texts: dict[tuple[str, str, str], str] = {}
        self.problems: list[str] = []
        self.seen: set[Path] = set()
        self.refused: dict[str, set[str]] = {kind: set() for kind in KINDS}
        """Names and identifiers of objects that were refused."""
        self.lost = False
        """Whether something was refused whose kind or name is not known."""

    def read_path(self, path: Path) -> None:
        if not path.is_dir():
            self.read_file(path)
            return
        found = sorted(
            file
            for file in path.rglob("*")
            # What kustomize is told; what it would make of it, ConfigMaps of files, `sourceFrom` finds by itself.
            if file.suffix in (".yaml", ".yml") and file.stem != "kustomization" and file.is_file()
        )
        if not found:
            self.problems.append(f"{path}: no *.yaml or *.yml in this folder")
        for file in found:
            self.read_file(file)

    def read_file(self, path: Path) -> None:
        if path.resolve() in self.seen:
            return
        self.seen.add(path.resolve())
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            self.problems.append(f"{path}: cannot be read: {reason}")
            self.lost = True
            return
        self.read(str(path), text, path.resolve().parent)

    def read(self, file: str, text: str, base: Path) -> None:
        lines = text.splitlines(keepends=True)
        for number, document in enumerate(documents(text), 1):
            if document.problems:
                self.problems += [f"{file}:{problem.line}: {problem.message}" for problem in document.problems]
                self.refuse(document.value)
            elif document.value is not None:
                for part in _items(document):
                    source = "".join(lines[part.line - 1 : part.last_line])
                    self.add(file, number, part, source, base)

    def add(self, file: str, number: int, document: Document, text: str, base: Path) -> None:
        value = document.value
        found = list(_misfit(value))
        kind = value.get("kind") if isinstance(value, dict) else None
        if not found and kind in ("ConfigMap", "Secret"):
            found = list(self.keep_texts(kind, value))
        elif not found:
            model = KINDS[str(kind)]
            try:
                parsed = model.model_validate(value, by_alias=True, by_name=False)
            except ValidationError as error:
                found = list(explain(error, model, value))
            else:
                self.manifests.append(Manifest(parsed, file, number, document.line, document.lines, text, base))
        if found:
            self.refuse(value)
        for path, message in found:
            name = f"{dotted(path)}: " if path else ""
            self.problems.append(f"{file}:{document.line_of(path)}: {name}{message}")

    def refuse(self, value: Any) -> None:
        outer = value if isinstance(value, dict) else {}
        kind, metadata, spec = outer.get("kind"), outer.get("metadata"), outer.get("spec")
        given = [part.get(key) for part, key in ((metadata, "name"), (spec, "identifier")) if isinstance(part, dict)]
        names = {name for name in given if isinstance(name, str)}
        if isinstance(kind, str) and kind in self.refused and names:
            self.refused[kind] |= names
        else:
            self.lost = True

    def keep_texts(self, kind: str, value: dict[str, Any]) -> Iterator[tuple[FieldPath, str]]:
        metadata = value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(name, str):
            yield ("metadata", "name"), "required"
            return
        for part in ("data", "stringData") if kind == "Secret" else ("data",):
            entries = value.get(part) or {}
            if not isinstance(entries, dict):
                yield (part,), "must be a map"
                continue
            for key, text in entries.items():
                if not isinstance(text, str):
                    yield (part, key), "must be a text: quote it"
                    continue
                try:
                    encoded = kind == "Secret" and part == "data"
                    plain = base64.b64decode(text, validate=True).decode() if encoded else text
                except (binascii.Error, UnicodeDecodeError):
                    yield (part, key), "must be text in base64; stringData takes plain text"
                    continue
                self.texts[kind, name, key] = plain


def _items(document: Document) -> Iterator[Document]:
    """The objects of a ``kind: List``, as ``get -o json`` and kubectl write it; else the document itself."""
    value = document.value
    items = value.get("items") if isinstance(value, dict) and value.get("kind") == "List" else None
    if not isinstance(items, list) or value.get("apiVersion") != "v1":
        yield document
        return
    lines: dict[Any, dict[FieldPath, int]] = {}
    for path, line in document.lines.items():
        if path[:1] == ("items",) and len(path) > 1:
            lines.setdefault(path[1], {})[path[2:]] = line
    for position, item in enumerate(items):
        yield Document(item, document.line_of(("items", position)), document.last_line, lines.get(position, {}))


def _misfit(value: Any) -> Iterator[tuple[FieldPath, str]]:
    """What keeps a document from being read as one of the kinds."""
    if not isinstance(value, dict):
        yield (), "a manifest must be a map with apiVersion, kind, metadata and spec"
        return
    kind, version = value.get("kind"), value.get("apiVersion")
    if kind is None:
        yield ("kind",), f"required: one of {', '.join(KINDS)}"
    elif kind == "List":
        yield ("items",), "a List has apiVersion v1 and its objects in items"
    elif kind not in KINDS and not (kind in ("ConfigMap", "Secret") and version == "v1"):
        yield ("kind",), f"unknown kind {kind!r}{nearest(str(kind), KINDS) or '; known: ' + ', '.join(KINDS)}"
    elif kind in KINDS and version != API_VERSION:
        given = "required" if version is None else f"{version!r} is not known"
        yield ("apiVersion",), f"{given}: write {API_VERSION}"


def _duplicates(manifests: Iterable[Manifest]) -> Iterator[str]:
    names: dict[tuple[str, str], Manifest] = {}
    identifiers: dict[tuple[str, str, str], Manifest] = {}
    for manifest in manifests:
        kind = manifest.object.kind
        first = names.setdefault((kind, manifest.object.metadata.name), manifest)
        if first is not manifest:
            message = f"{kind} {manifest.object.metadata.name!r} is defined already, at {first.file}:{first.line}"
            yield manifest.problem(("metadata", "name"), message)
            continue
        first = identifiers.setdefault((kind, manifest.datalayer, manifest.identifier), manifest)
        if first is not manifest:
            message = f"{kind} {manifest.identifier!r} is defined already, at {first.file}:{first.line}"
            yield manifest.problem(("spec", "identifier"), message)


def _missing_sources(manifests: Iterable[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        for path, code in references.codes(manifest.object):
            try:
                manifest.code(code, path)
            except ManifestError as error:
                yield str(error)
