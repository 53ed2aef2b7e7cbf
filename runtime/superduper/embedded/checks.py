"""What can be told of manifests before any work is done: each problem with the file and line of its field."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from superduper import code as _code
from superduper.api import references
from superduper.api import v1alpha1 as api
from superduper.api.located import Path as FieldPath
from superduper.api.v1alpha1.common import Code
from superduper.backends import registry
from superduper.codecs import check_info
from superduper.components import metric as _metric
from superduper.embedded import folders
from superduper.embedded.home import connections
from superduper.embedded.state import Record, State
from superduper.errors import CodeError, ManifestError, SuperduperError
from superduper.manifests import Manifest


def check(state: State, manifests: Sequence[Manifest], *, run: bool) -> None:
    """Compare the manifests with the home and with what this machine has. Raises ManifestError with all problems.

    With ``run``, code is loaded as it will be; else nothing of it is run, and only its syntax is looked at.
    """
    found = _Checks(state, manifests, run)
    problems = [problem for manifest in manifests for problem in found.problems(manifest)]
    if problems:
        raise ManifestError("\n".join(problems))


class _Checks:
    def __init__(self, state: State, manifests: Sequence[Manifest], run: bool) -> None:
        self.state, self.run = state, run
        self.datalayers = {each.datalayer: each for each in manifests if isinstance(each.object, api.Datalayer)}
        self.records = state.all()
        self._metrics: dict[str, Collection[str] | None] = {}

    def problems(self, manifest: Manifest) -> Iterator[str]:
        """All that is wrong with one manifest."""
        resolved = manifest.resolved()
        previous = self.state.find(resolved.kind, resolved.metadata.name)
        yield from self._moved(manifest, previous)
        yield from _unknown_schemes(manifest)
        if previous is None or previous.object.spec != resolved.spec or not previous.status.ready:
            yield from self._codes(manifest, resolved)
            yield from self._unknown_metrics(manifest)
            yield from _info(manifest)

    # Against what was applied

    def _moved(self, manifest: Manifest, previous: Record | None) -> Iterator[str]:
        """Where an object lies and what it is called there stay: what it made under the old name would live on."""
        kind, name = manifest.object.kind, manifest.object.metadata.name
        given = getattr(manifest.object.spec, "identifier", None) is not None
        place: FieldPath = ("spec", "identifier") if given else ("metadata", "name")
        if previous is not None:
            remedy = f"keep it, or first: superduper delete {kind.lower()} {name}"
            if previous.datalayer != manifest.datalayer:
                message = f"{kind} {name!r} is in the Datalayer {previous.datalayer!r} and cannot be moved; {remedy}"
                yield manifest.problem(("spec", "datalayerRef", "name"), message)
            if previous.identifier != manifest.identifier:
                message = (
                    f"{kind} {name!r} has the identifier {previous.identifier!r}, which cannot be changed; {remedy}"
                )
                yield manifest.problem(place, message)
            return
        for record in self.records:
            if (record.kind, record.datalayer, record.identifier) == (kind, manifest.datalayer, manifest.identifier):
                message = (
                    f"{kind} {record.identifier!r} is the object {record.name!r} already; "
                    f"keep that name, or first: superduper delete {kind.lower()} {record.name}"
                )
                yield manifest.problem(place, message)

    # Code

    def _codes(self, manifest: Manifest, resolved: api.Object) -> Iterator[str]:
        pairs = zip(references.codes(manifest.object), references.codes(resolved), strict=True)
        for (path, given), (_, code) in pairs:
            try:
                if self.run and code.pickle is None and not getattr(resolved.spec, "suspend", False):
                    _code.named(code)
                elif code.source is not None:
                    _code.check_syntax(code.source)
            except CodeError as error:
                yield _code_problem(manifest, path, given, error)

    # Metrics

    def _unknown_metrics(self, manifest: Manifest) -> Iterator[str]:
        validation = getattr(manifest.object.spec, "validation", None)
        for position, name in enumerate(validation.metrics if validation is not None else ()):
            if isinstance(name, str) and name not in _metric.READY:
                known = self._metrics_of(manifest.datalayer)
                if known is not None and name not in known:
                    yield manifest.problem(("spec", "validation", "metrics", position), _metric.unknown(name))

    def _metrics_of(self, datalayer: str) -> Collection[str] | None:
        """Metrics that were applied from Python; None where that cannot be told before the Datalayer is there."""
        if datalayer not in self._metrics:
            try:
                self._metrics[datalayer] = self._applied_metrics(datalayer)
            except SuperduperError:
                # What is wrong with the store is told of the Datalayer, when that is applied.
                self._metrics[datalayer] = None
        return self._metrics[datalayer]

    def _applied_metrics(self, datalayer: str) -> Collection[str]:
        record = self.state.find("Datalayer", datalayer)
        if record is not None and record.memo:
            uri = str(record.memo["metadata"])
        else:
            uri = connections(self.datalayers[datalayer], self.state.home)[0]["metadata"]
        if uri.startswith("sqlite:////") and not Path("/" + unquote(uri.removeprefix("sqlite:////"))).exists():
            return ()
        store = registry.metadata_store(uri)
        try:
            return [identifier for type_id, identifier in store.components("metric") if type_id == "metric"]
        finally:
            store.close()


def _unknown_schemes(manifest: Manifest) -> Iterator[str]:
    for path, uri, what in _uris(manifest):
        try:
            if what == "source":
                folders.check_scheme(uri)
            else:
                registry.served(uri, what)
        except SuperduperError as error:
            yield manifest.problem(path, str(error))


def _uris(manifest: Manifest) -> Iterator[tuple[FieldPath, str, str]]:
    """URIs, where they stand, and what they are to be."""
    spec: Any = manifest.object.spec
    if isinstance(manifest.object, api.Datalayer):
        parts = (("databackend", spec.databackend), ("metadata", spec.metadata), ("artifactStore", spec.artifact_store))
        for field, part in parts:
            if part is not None and part.uri is not None:
                yield ("spec", field, "uri"), part.uri, _STORES[field]
            elif part is not None and part.uri_from is not None:
                ref = part.uri_from.secret_key_ref
                text = manifest.texts.get(("Secret", ref.name, ref.key))
                if text is not None:
                    yield ("spec", field, "uriFrom"), text.strip(), _STORES[field]
    elif isinstance(manifest.object, api.Table) and spec.source is not None and spec.source.uri is not None:
        yield ("spec", "source", "uri"), spec.source.uri, "source"


_STORES = {"databackend": "databackend", "metadata": "metadata store", "artifactStore": "artifact store"}


def _info(manifest: Manifest) -> Iterator[str]:
    """What a codec cannot use of ``info``."""
    if isinstance(manifest.object, api.DataType) and manifest.object.spec.codec is not None:
        try:
            check_info(manifest.object.spec.codec, manifest.object.spec.info)
        except SuperduperError as error:
            yield manifest.problem(("spec", "info", "format"), str(error))


def _code_problem(manifest: Manifest, path: FieldPath, given: Code, error: CodeError) -> str:
    """The problem on the line of the manifest that it is on, as far as that is known."""
    if given.source_from is not None:
        key = given.source_from.config_map_key_ref.key
        line = f"line {error.line}: " if error.line is not None else ""
        return manifest.problem((*path, "sourceFrom"), f"{key}: {line}{error.problem}")
    where = (*path, error.part) if error.part else path
    if error.line is not None:
        return manifest.problem_in(where, error.line, error.problem)
    return manifest.problem(where, error.problem)
