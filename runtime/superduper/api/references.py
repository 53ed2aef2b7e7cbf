"""What objects refer to: cross references, their order of application, and the code that they hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple, Protocol, TypeVar

from superduper.api.located import Path
from superduper.api.v1alpha1 import KINDS, Datalayer, DataType, Model, Object, Spec, Table
from superduper.api.v1alpha1.common import OUTPUTS, Code
from superduper.errors import nearest


class Reference(NamedTuple):
    """An object's reference to another one, and where it stands."""

    path: Path
    kind: str
    name: str


class Named(Protocol):
    """An object with its identifier and Datalayer; a manifest is one."""

    @property
    def object(self) -> Object: ...
    @property
    def identifier(self) -> str: ...
    @property
    def datalayer(self) -> str: ...


N = TypeVar("N", bound=Named)
O = TypeVar("O", bound=Spec)  # noqa: E741


def datalayer(resource: Object) -> str:
    """Name of the Datalayer that an object belongs to, or is."""
    if isinstance(resource, Datalayer):
        return resource.metadata.name
    ref = resource.spec.datalayer_ref
    return ref.name if ref is not None else ""


def references(resource: Object) -> Iterator[Reference]:
    """All that an object refers to, in the order of its fields."""
    if isinstance(resource, Datalayer):
        return
    yield Reference(("spec", "datalayerRef", "name"), "Datalayer", datalayer(resource))
    if isinstance(resource, Table):
        for name, field in resource.spec.fields.items():
            if field.data_type is not None:
                yield Reference(("spec", "fields", name, "dataType"), "DataType", field.data_type)
    elif isinstance(resource, Model):
        for part in ("training", "predict", "validation"):
            value = getattr(resource.spec, part)
            if value is not None:
                kind = "Model" if value.table.startswith(OUTPUTS) else "Table"
                yield Reference(("spec", part, "table"), kind, value.table.removeprefix(OUTPUTS))
        predict = resource.spec.predict
        if predict is not None and predict.output is not None and predict.output.data_type is not None:
            yield Reference(("spec", "predict", "output", "dataType"), "DataType", predict.output.data_type)


def broken(objects: Sequence[N], known: Mapping[str, Collection[str]]) -> Iterator[tuple[N, Path, str]]:
    """References to what is neither among the objects nor known, and fields that a given table does not have."""
    homes: dict[tuple[str, str], set[str]] = {}
    for each in objects:
        homes.setdefault((each.object.kind, each.identifier), set()).add(each.datalayer)
    tables = {(each.datalayer, each.identifier): each.object for each in objects if isinstance(each.object, Table)}
    for each in objects:
        for path, kind, name in references(each.object):
            found = homes.get((kind, name), set())
            if name in known.get(kind, ()) or each.datalayer in found or (kind == "Datalayer" and found):
                continue
            if found:
                yield each, path, f"{kind} {name!r} belongs to another Datalayer, {min(found)!r}"
                continue
            names = {*(n for k, n in homes if k == kind), *known.get(kind, ())}
            yield each, path, f"no {kind} {name!r}{nearest(name, names)}"
        if isinstance(each.object, Model):
            for path, message in _unknown_fields(
                each.object, {n: t for (d, n), t in tables.items() if d == each.datalayer}
            ):
                yield each, path, message


def _unknown_fields(model: Model, tables: Mapping[str, Table]) -> Iterator[tuple[Path, str]]:
    """Inputs and targets that are no field of their table, where the table is given and says its fields."""
    for name in ("training", "predict", "validation"):
        part = getattr(model.spec, name)
        table = tables.get(part.table) if part is not None else None
        if table is None or not table.spec.fields:
            continue
        fields = {*table.spec.fields, table.spec.primary_key, "_fold"}
        inputs = part.inputs or ()
        given = list(inputs.items() if isinstance(inputs, dict) else enumerate(inputs))
        places: list[tuple[Path, str]] = [(("spec", name, "inputs", key), field) for key, field in given]
        target = getattr(part, "target", None)
        if target is not None:
            places.append((("spec", name, "target"), target))
        for path, field in places:
            if field not in fields:
                yield path, f"no field {field!r} in Table {part.table!r}{nearest(field, fields)}"


def ordered(objects: Sequence[N]) -> list[N] | None:
    """Each after what it refers to: Datalayers, DataTypes, Tables, Models, else as given; None if in a circle."""
    kinds = list(KINDS)
    by_kind = sorted(objects, key=lambda each: kinds.index(each.object.kind))
    models = {(each.datalayer, each.identifier): each for each in by_kind if isinstance(each.object, Model)}
    graph: TopologicalSorter[tuple[str, str]] = TopologicalSorter()
    for key, each in models.items():
        needed = [(each.datalayer, ref.name) for ref in references(each.object) if ref.kind == "Model"]
        graph.add(key, *(other for other in needed if other in models))
    try:
        order = list(graph.static_order())
    except CycleError:
        return None
    return [each for each in by_kind if not isinstance(each.object, Model)] + [models[key] for key in order]


def codes(resource: Object) -> Iterator[tuple[Path, Code]]:
    """All code that an object holds, with its field path (camelCase)."""
    found: list[tuple[Path, Code | None]] = []
    if isinstance(resource, DataType):
        found = [(("spec", "encoder"), resource.spec.encoder), (("spec", "decoder"), resource.spec.decoder)]
    elif isinstance(resource, Table) and resource.spec.source is not None:
        found = [(("spec", "source", "rows"), resource.spec.source.rows)]
    elif isinstance(resource, Model):
        found = list(_model_codes(resource))
    yield from ((path, code) for path, code in found if code is not None)


def _model_codes(model: Model) -> Iterator[tuple[Path, Code | None]]:
    spec = model.spec
    yield ("spec", "object"), spec.object
    if spec.training is not None:
        yield ("spec", "training", "object"), spec.training.object
    if spec.validation is not None:
        for position, metric in enumerate(spec.validation.metrics):
            if not isinstance(metric, str):
                yield ("spec", "validation", "metrics", position, "object"), metric.object


def with_value(resource: O, path: Path, value: Spec) -> O:
    """A copy with the value at that path replaced; the path leads through single-word fields and positions."""
    head, rest = str(path[0]), path[1:]
    inner: object = value
    if rest and isinstance(rest[0], int):
        items = list(getattr(resource, head))
        items[rest[0]] = with_value(items[rest[0]], rest[1:], value)
        inner = tuple(items)
    elif rest:
        inner = with_value(getattr(resource, head), rest, value)
    return resource.model_copy(update={head: inner})
