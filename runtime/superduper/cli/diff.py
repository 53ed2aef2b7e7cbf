"""``superduper diff -f``."""

from __future__ import annotations

import click

from superduper.cli import FAILED, OK, USAGE, Run
from superduper.cli.options import command as _command
from superduper.cli.options import files, opened


@_command
@files
@click.pass_obj
def diff(run: Run, files: tuple[str, ...]) -> int:
    """Show what apply would change. Exits with 0 if nothing would, 1 if something would, 2 if it cannot tell."""
    from superduper.embedded.plan import plan
    from superduper.errors import SuperduperError
    from superduper.manifests import load

    if not files:
        raise click.UsageError("nothing to compare: give -f FILE, -f FOLDER or -f -")
    with opened(run) as home:
        try:
            changes = list(plan(home.state, load(files, known=home.state.known())))
        except SuperduperError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            return USAGE
    texts = [text for change in changes if (text := change.diff())]
    for text in texts:
        click.echo(text)
    return FAILED if texts else OK


command = diff
