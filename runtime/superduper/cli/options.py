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
    """The home folder, closed afterwards; for commands that bring objects into it."""
    from superduper.embedded.home import Home

    if run.uri or run.namespace or run.datalayer:
        raise click.UsageError(
            "this command is about the objects of the home folder; those of a cluster are brought in, compared and removed "
            "with kubectl apply, diff and delete"
        )
    with Home(run.folder()) as home:
        yield home


@contextmanager
def browsed(run: Run, datalayer: str | None) -> Iterator[Home]:
    """The home folder; or the cluster, where ``--namespace`` names it or the home has no Datalayer of that name."""
    from superduper.embedded.home import Home

    name = datalayer or run.datalayer
    with Home(run.folder()) as home:
        known = [record.name for record in home.state.all() if record.kind == "Datalayer"]
        if run.namespace is None and (name is None or name in known):
            yield home
            return
    with _cluster(run, name, known) as found:
        yield found


def refuse_uri(run: Run) -> None:
    """For commands on objects: a database or a server has components, and no manifests."""
    if run.uri is not None:
        raise click.UsageError(
            "--uri names a database or a server, and this command is about applied objects: give --datalayer NAME; "
            "superduper query, errors, artifact … work with --uri"
        )


@contextmanager
def _cluster(run: Run, name: str | None, known: list[str]) -> Iterator[Home]:
    from superduper.cli.cluster import ClusterHome
    from superduper.cli.kubectl import NoCluster
    from superduper.errors import NotFound, nearest

    with ClusterHome(run) as home:
        try:
            if name is not None:
                home.state.get("Datalayer", name)
        except NoCluster as error:
            if run.namespace is not None:
                raise
            raise NotFound(
                f"no Datalayer {name!r} in {run.folder()}{nearest(str(name), known)}, and no cluster to look in: {error}"
            ) from error
        except NotFound as error:
            if run.namespace is not None:
                raise
            raise NotFound(f"no Datalayer {name!r} in {run.folder()}{nearest(str(name), known)}; {error}") from error
        yield home


def _at(run: Run, datalayer: str | None, uri: str | None) -> str | None:
    """The URI to work on, where it is not a Datalayer by name: what stands nearer to the command counts."""
    if (uri and datalayer) or (run.uri and run.datalayer):
        raise click.UsageError("give --datalayer or --uri, not both")
    if uri or datalayer:
        return uri
    if run.uri or run.datalayer or run.namespace:
        return run.uri
    from superduper.config import CFG

    # A server that the environment or superduper.yaml names. A database is what manifests name.
    named = "databackend" in CFG.model_fields_set and CFG.databackend.startswith(("http://", "https://"))
    return CFG.databackend if named else None


@contextmanager
def connected(run: Run, datalayer: str | None, uri: str | None) -> Iterator[tuple[Home, str | None, Datalayer]]:
    """The home, the Datalayer's name (None with ``--uri`` and in a cluster), and a connection to it."""
    from superduper.embedded.home import Home

    at = _at(run, datalayer, uri)
    if at is not None:
        from superduper.datalayer import superduper

        settings: dict[str, Any] = {"token": run.token} if run.token else {}
        with Home(run.folder()) as home, superduper(at, home=str(home.path), **settings) as db:
            yield home, None, db
        return
    with browsed(run, datalayer) as home:
        name = home.choose(datalayer or run.datalayer).name
        yield home, None if home.in_cluster else name, home.datalayer(name)


@dataclass(frozen=True, slots=True)
class Target:
    """A table or model of one datalayer. ``record`` is None where it was not applied by manifest, here."""

    home: Home
    db: Datalayer
    identifier: str
    record: Record | None


@contextmanager
def target(run: Run, kind: str, name: str, datalayer: str | None, uri: str | None) -> Iterator[Target]:
    """The object of that name or identifier. Raises ConfigError where several datalayers have one."""
    from superduper.errors import ConfigError

    if _at(run, datalayer, uri) is not None:
        with connected(run, datalayer, uri) as (home, _, db):
            yield Target(home, db, name, None)
        return
    datalayer = datalayer or run.datalayer
    with browsed(run, datalayer) as home:
        found = [r for r in home.state.all() if r.kind == kind and datalayer in (None, r.datalayer)]
        named = [r for r in found if r.name == name] or [r for r in found if r.identifier == name]
        if len(named) > 1:
            where = ", ".join(record.datalayer for record in named)
            raise ConfigError(f"{kind} {name!r} is in several Datalayers ({where}): choose one with -d")
        if named:
            # What a cluster's object says of itself is the operator's business.
            record = None if home.in_cluster else named[0]
            yield Target(home, home.datalayer(named[0].datalayer), named[0].identifier, record)
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
