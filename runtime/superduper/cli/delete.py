"""``superduper delete``."""

from __future__ import annotations

import click

from superduper.cli import FAILED, OK, Run, names
from superduper.cli.get import select
from superduper.cli.options import command as _command
from superduper.cli.options import files, opened


@_command
@click.argument("words", nargs=-1, metavar="KIND NAME… | KIND/NAME…", shell_complete=names.kinds_and_names())
@files
@click.option("--force", is_flag=True, help="Also remove what depends on it.")
@click.option("--ignore-not-found", is_flag=True, help="What is not there is passed over.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.pass_obj
def delete(
    run: Run, words: tuple[str, ...], files: tuple[str, ...], force: bool, ignore_not_found: bool, dry_run: bool
) -> int:
    """Remove objects, by manifests or by name; what others depend on is refused.

    deletionPolicy of Table and Model says whether rows and outputs go too, of Datalayer whether provisioned stores do.
    """
    from superduper.embedded.delete import Delete
    from superduper.errors import NotFound, SuperduperError
    from superduper.manifests import load

    if bool(words) == bool(files):
        raise click.UsageError("give either KIND NAME or -f, as in: superduper delete model digits")
    if words and len(words) == 1 and "/" not in words[0]:
        raise click.UsageError("name what to delete, as in: superduper delete model digits")
    with opened(run) as home:
        missing = []
        if files:
            names = [(m.object.kind, m.object.metadata.name) for m in load(files, known=home.state.known())]
            found = [record for pair in names if (record := home.state.find(*pair)) is not None]
            missing = [f"{kind.lower()}/{name}" for kind, name in names if home.state.find(kind, name) is None]
        else:
            try:
                found = select(home, words)
            except NotFound:
                if not ignore_not_found:
                    raise
                found = []
        work = Delete(home, found, force=force)
        failed = bool(missing) and not ignore_not_found
        for name in missing if failed else ():
            click.echo(f"error: {name} not found in {home.path}", err=True)
        for record in work.order():
            name = f"{record.kind.lower()}/{record.name}"
            try:
                note = work.check(record) if dry_run else work.remove(record)
            except SuperduperError as error:
                failed = True
                click.echo(f"error: {name}: {error}", err=True)
                continue
            click.echo(f"{name} {'would be deleted' if dry_run else 'deleted'}{f' ({note})' if note else ''}")
    return FAILED if failed else OK


command = delete
