"""``superduper artifact``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from superduper.cli import Run
from superduper.cli.options import as_json, connected, place
from superduper.cli.options import command as _command
from superduper.cli.output import columns, json_line

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer

PIECE = 1 << 20


@click.group()
def artifact() -> None:
    """Look at artifacts, fetch them and store some."""


@_command
@click.argument("id", required=False)
@place
@as_json
@click.pass_obj
def ls(run: Run, id: str | None, datalayer: str | None, uri: str | None, json_: bool) -> None:
    """List what rows and components need; with the ID of a file or folder, the files in it."""
    from superduper.embedded.view import size_text
    from superduper.errors import ArtifactError

    with connected(run, datalayer, uri) as (_, _, db):
        rows: list[dict[str, Any]] = []
        if id is not None:
            tree = db.artifacts.tree(_id(id))
            files = [entry for entry in tree.entries if entry.type == "file"]
            rows = [{"name": "/".join((tree.name, *one.path)), "id": one.blob, "size": one.size} for one in files]
        else:
            for found in sorted(set(db.live())):
                try:
                    rows.append({"id": found, "size": _size(db, found)})
                except ArtifactError:
                    rows.append({"id": found, "size": None})
        if json_:
            for row in rows:
                json_line(row)
            return
        header = [name.upper() for name in rows[0]] if rows else ["ID", "SIZE"]
        shown = [[_text(row[name], name, size_text) for name in row] for row in rows]
        click.echo(columns(header, shown))


@_command
@click.argument("id")
@click.option("-o", "--output", metavar="FILE", help="Where to; default: standard output.")
@place
@click.pass_obj
def get(run: Run, id: str, output: str | None, datalayer: str | None, uri: str | None) -> None:
    """Write the bytes of an artifact or of a stored file, verified, to a file or to standard output."""
    with connected(run, datalayer, uri) as (_, _, db), db.artifacts.open(_payload(db, id)) as blob:
        if output is None:
            if sys.stdout.isatty():
                raise click.UsageError("bytes do not belong on a terminal: give -o FILE, or pipe them")
            _copy(blob, sys.stdout.buffer)
        else:
            with Path(output).open("wb") as file:
                _copy(blob, file)


@_command
@click.argument("path", type=click.Path(exists=True))
@click.option("--file", "as_file", is_flag=True, help="Store a file with its name, as a file DataType does.")
@click.option(
    "--symlinks",
    type=click.Choice(["refuse", "keep"]),
    default="refuse",
    show_default=True,
    help="keep: links within the folder are stored as links.",
)
@place
@click.pass_obj
def put(
    run: Run, path: str, as_file: bool, symlinks: Literal["refuse", "keep"], datalayer: str | None, uri: str | None
) -> None:
    """Store a file's bytes, or a folder, and print the reference. gc removes it again unless a row comes to need it."""
    from superduper.artifacts import reference

    with connected(run, datalayer, uri) as (_, _, db), db.artifacts.writing() as writer:
        if as_file or Path(path).is_dir():
            text = reference.file(writer.put_path(path, symlinks=symlinks))
        else:
            text = reference.blob(writer.put(Path(path).read_bytes()))
        writer.flush()
    click.echo(text)


@_command
@click.argument("id")
@click.argument("into", type=click.Path(file_okay=False), default=".")
@place
@click.pass_obj
def checkout(run: Run, id: str, into: str, datalayer: str | None, uri: str | None) -> None:
    """Copy a stored file or folder out, verified, into INTO/ID/, and print the path."""
    with connected(run, datalayer, uri) as (_, _, db):
        click.echo(str(db.artifacts.checkout(_id(id), Path(into))))


def _id(text: str) -> str:
    """The id of a reference, or the id itself."""
    return text.rpartition(":")[2]


def _payload(db: Datalayer, text: str) -> str:
    """The id of the bytes that are meant: those of a stored file are not what its own id names."""
    from superduper.artifacts.reference import check_id

    found = check_id(_id(text))
    if not text.startswith("&:file:") and next(iter(db.artifact_store.list(f"trees/{found}")), None) is None:
        return found
    tree = db.artifacts.tree(found)
    root = tree.entries[0]
    if root.type != "file":
        raise click.ClickException(
            f"{text} is the folder {tree.name!r}: superduper artifact checkout {found} copies it out, "
            "and superduper artifact ls names the files in it"
        )
    return root.blob


def _size(db: Datalayer, id: str) -> int:
    from superduper.errors import ArtifactError

    try:
        return db.artifacts.size(id)
    except ArtifactError:
        return int(db.artifacts.tree(id).size)


def _text(value: Any, name: str, size_text: Any) -> str:
    if value is None:
        return "missing"
    return str(size_text(value)) if name == "size" else str(value)


def _copy(blob: Any, file: Any) -> None:
    while piece := blob.read(PIECE):
        file.write(piece)


for part in (ls, get, put, checkout):
    artifact.add_command(part)
command = artifact
