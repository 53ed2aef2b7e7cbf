"""``superduper get``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from superduper.cli import Run, names
from superduper.cli.options import browsed, kind_of, refuse_uri
from superduper.cli.options import command as _command
from superduper.cli.output import age, columns, condition, details

if TYPE_CHECKING:
    from superduper.embedded.home import Home
    from superduper.embedded.state import Record


@_command
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="all | KIND [NAME…] | KIND/NAME…",
    shell_complete=names.kinds_and_names("all"),
)
@click.option("-d", "--datalayer", metavar="NAME", shell_complete=names.of("Datalayer"), help="Of this Datalayer only.")
@click.option("-o", "--output", type=click.Choice(["table", "wide", "yaml", "json", "name"]), default="table")
@click.pass_obj
def get(run: Run, words: tuple[str, ...], datalayer: str | None, output: str) -> None:
    """List objects, or show them whole: get all, get models, get tbl docs -o yaml.

    Kinds: datalayers (dl), datatypes (dt), tables (tbl), models (mdl).
    """
    from superduper.errors import NotFound

    refuse_uri(run)
    datalayer = datalayer or run.datalayer
    with browsed(run, datalayer) as home:
        selected, missing = chosen(home, words)
        found = [record for record in selected if datalayer in (None, record.datalayer)]
    if missing and not found:
        pass
    elif not found and output in ("table", "wide"):
        where = f"namespace {run.namespace!r}" if run.namespace else run.folder()
        click.echo(f"no objects in {where}", err=True)
    elif output == "name":
        for record in found:
            click.echo(f"{record.kind.lower()}/{record.name}")
    elif output == "json":
        shown = [record.manifest() for record in found]
        single = len(shown) == 1 and (len(words) > 1 or "/" in words[0])
        click.echo(json.dumps(shown[0] if single else {"apiVersion": "v1", "kind": "List", "items": shown}, indent=2))
    elif output == "yaml":
        from superduper.manifests import dump

        click.echo("---\n".join(dump(record.manifest()) for record in found), nl=False)
    else:
        _tables(found, wide=output == "wide")
    if missing:
        raise NotFound("\n".join(missing))


def select(home: Home, words: Sequence[str]) -> list[Record]:
    """The objects that ``all``, ``KIND``, ``KIND NAME…`` or ``KIND/NAME…`` name. Raises NotFound."""
    named = _named(words)
    if named is not None:
        return [home.state.get(kind, name) for kind, name in named]
    kinds = [] if words == ("all",) else [kind_of(word) for word in words[0].split(",")]
    return [record for record in home.state.all() if record.kind in kinds or not kinds]


def chosen(home: Home, words: Sequence[str]) -> tuple[list[Record], list[str]]:
    """As ``select``, with a message in the place of each object that is not there."""
    from superduper.errors import NotFound

    found, missing = [], []
    for one in _each(words):
        try:
            found += select(home, one)
        except NotFound as error:
            missing.append(str(error))
    return found, missing


def _each(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    named = _named(words)
    if named is None:
        yield tuple(words)
    else:
        yield from ((kind, name) for kind, name in named)


def _named(words: Sequence[str]) -> list[tuple[str, str]] | None:
    """Kind and name of each object, or None where only kinds are given."""
    if any("/" in word for word in words):
        pairs = [word.partition("/") for word in words]
        return [(kind_of(kind), name) for kind, _, name in pairs]
    return [(kind_of(words[0]), name) for name in words[1:]] if len(words) > 1 else None


def _tables(found: Sequence[Record], *, wide: bool) -> None:
    kinds = dict.fromkeys(record.kind for record in found)
    texts = []
    for kind in kinds:
        same = [record for record in found if record.kind == kind]
        header = ["NAME", "READY", "REASON", *(name.upper() for name, _ in details(same[0])), "AGE"]
        header += ["DATALAYER", "IDENTIFIER", "VERSION", "MESSAGE"] if wide else []
        texts.append(columns(header, [_row(record, wide=wide, named=len(kinds) > 1) for record in same]))
    click.echo("\n\n".join(texts))


def _row(record: Record, *, wide: bool, named: bool) -> list[str]:
    ready, reason, message = condition(record)
    name = f"{record.kind.lower()}/{record.name}" if named else record.name
    row = [name, ready, reason, *(text for _, text in details(record)), age(record.created)]
    if wide:
        version = getattr(record.status, "version", None)
        row += [record.datalayer, record.identifier, "-" if version is None else str(version), message]
    return row


command = get
