"""What is printed: columns, short values, ages, JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from superduper.embedded.state import Record

WIDTH = 40
"""Characters of a value in a column at most."""


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Aligned columns, three spaces between them, as kubectl prints."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    return "\n".join(
        (indent + "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))).rstrip()
        for line in lines
    )


def short(value: Any, width: int = WIDTH) -> str:
    """A value in one line of at most ``width`` characters."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, default=str)
        if isinstance(value, (dict, list))
        else str(value)
    )
    text = " ".join(text.split()) or '""'
    return text if len(text) <= width else text[: width - 1] + "…"


def age(since: str | datetime) -> str:
    """How long ago, as 5s, 3m, 2h, 4d."""
    then = datetime.fromisoformat(since) if isinstance(since, str) else since
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def json_line(value: Mapping[str, Any]) -> None:
    """One JSON object, printed at once."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    from superduper.embedded.view import Handle

    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Handle):
        return {"type": value.type, "size": value.size, "id": value.id}
    return str(value)


def table(rows: Iterable[Mapping[str, Any]], indent: str = "") -> str:
    """Rows as columns; outputs of models under the models' names."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    if not flat:
        return f"{indent}no rows"
    return columns([name.upper() for name in names], [[short(row.get(name)) for name in names] for row in flat], indent)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in row.items() if name != "_outputs"}
    return found | {f"→ {name}": value for name, value in row.get("_outputs", {}).items()}


def condition(record: Record) -> tuple[str, str, str]:
    """Status, reason and message of Ready."""
    found = record.status.condition("Ready")
    return ("Unknown", "-", "") if found is None else (found.status, found.reason.value, found.message)


def details(record: Record) -> tuple[tuple[str, str], ...]:
    """What matters per kind, as name and value."""
    from superduper.api.v1alpha1 import DatalayerStatus, ModelStatus, TableStatus

    status, spec = record.status, record.object.spec
    if isinstance(status, DatalayerStatus):
        return (("databackend", short(status.databackend, 60)),)
    if isinstance(status, TableStatus):
        return (("rows", _count(status.rows)),)
    if isinstance(status, ModelStatus):
        predicted = _of(status.predicted, status.rows)
        return (("predicted", predicted), ("failed", _count(status.failed)), ("metrics", metrics(status.metrics)))
    return (("codec", short(getattr(spec, "codec", None) or "own")),)


def metrics(values: Mapping[str, float]) -> str:
    """``accuracy 0.9815``, or a dash."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items()) or "-"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _of(part: int | None, whole: int | None) -> str:
    return "-" if part is None or whole is None else f"{part:,} of {whole:,}"
