"""Options that several sub-commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from superduper.cli import Run, names

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer
    from superduper.embedded.home import Home
    from superduper.embedded.state import Record

F = TypeVar("F", bound=Callable[..., Any])

KINDS = {
    "Datalayer": ("datalayer", "datalayers", "dl"),
    "DataType": ("datatype", "datatypes", "dt"),
    "Table": ("table", "tables", "tbl"),
    "Model": ("model", "models", "mdl"),
}
"""Each kind and the words for it, any case."""


def command(function: F) -> Any:
    """A sub-command that takes --home and --debug behind its name too."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value:
            setattr(ctx.find_object(Run), str(parameter.name), value)
        return value

    debug = click.option(
        "--debug", is_flag=True, expose_value=False, callback=keep, help="Show the traceback of an error."
    )
    home = click.option("--home", metavar="FOLDER", expose_value=False, callback=keep, help="Where state is kept.")
    return click.command(name=function.__name__.rstrip("_"))(home(debug(function)))


def files(function: F) -> F:
    """``-f FILE|FOLDER|-``, several times."""
    return click.option(
        "-f",
        "--filename",
        "files",
        multiple=True,
        type=click.Path(readable=False),
        metavar="FILE|FOLDER|-",
        help="Manifests; - reads standard input.",
    )(function)


def place(function: F) -> F:
    """``-d NAME`` or ``--uri URI``."""
    uri = click.option("--uri", metavar="URI", help="A database instead of a Datalayer, as sqlite://my.db.")
    named = click.option(
        "-d",
        "--datalayer",
        metavar="NAME",
        shell_complete=names.of("Datalayer"),
        help="Which Datalayer, where there are several.",
    )
    return named(uri(function))


def as_json(function: F) -> F:
    """``--json`` or, as kubectl spells it, ``-o json``: a JSON object a line."""

    @wraps(function)
    def called(*args: Any, json_: bool, output: str | None, **others: Any) -> Any:
        return function(*args, json_=json_ or output == "json", **others)

    flag = click.option("--json", "json_", is_flag=True, help="A JSON object a line, for scripts.")
    spelt = click.option("-o", "--output", type=click.Choice(["json"]), help="The same as --json.")
    return cast(F, flag(spelt(called)))


@contextmanager
def opened(run: Run) -> Iterator[Home]:
    """The home folder, closed afterwards."""
    from superduper.embedded.home import Home

    with Home(run.folder()) as home:
        yield home


@contextmanager
def connected(run: Run, datalayer: str | None, uri: str | None) -> Iterator[tuple[Home, str | None, Datalayer]]:
    """The home, the Datalayer's name (None with ``--uri``), and a connection to it."""
    if uri is not None and datalayer is not None:
        raise click.UsageError("give --datalayer or --uri, not both")
    with opened(run) as home:
        if uri is not None:
            from superduper.datalayer import superduper

            with superduper(uri, home=str(home.path)) as db:
                yield home, None, db
        else:
            name = home.choose(datalayer).name
            yield home, name, home.datalayer(name)


@dataclass(frozen=True, slots=True)
class Target:
    """A table or model of one datalayer. ``record`` is None where it was not applied by manifest."""

    home: Home
    db: Datalayer
    identifier: str
    record: Record | None


@contextmanager
def target(run: Run, kind: str, name: str, datalayer: str | None, uri: str | None) -> Iterator[Target]:
    """The object of that name or identifier. Raises ConfigError where several datalayers have one."""
    from superduper.errors import ConfigError

    if uri is not None:
        with connected(run, datalayer, uri) as (home, _, db):
            yield Target(home, db, name, None)
        return
    with opened(run) as home:
        found = [r for r in home.state.all() if r.kind == kind and datalayer in (None, r.datalayer)]
        named = [r for r in found if r.name == name] or [r for r in found if r.identifier == name]
        if len(named) > 1:
            where = ", ".join(record.datalayer for record in named)
            raise ConfigError(f"{kind} {name!r} is in several Datalayers ({where}): choose one with -d")
        if named:
            yield Target(home, home.datalayer(named[0].datalayer), named[0].identifier, named[0])
        else:
            yield Target(home, home.datalayer(home.choose(datalayer).name), name, None)


def kind_of(word: str) -> str:
    """The kind that a word names: ``models``, ``mdl``, ``Model``."""
    from superduper.errors import nearest

    for kind, words in KINDS.items():
        if word.lower() in words:
            return kind
    known = [name for words in KINDS.values() for name in words]
    # A typing error is seldom in the first letter: pods are no models.
    hint = nearest(word.lower(), [name for name in known if name[0] == word[:1].lower()])
    raise click.UsageError(f"no kind {word!r}{hint} (kinds: {', '.join(known)})")
