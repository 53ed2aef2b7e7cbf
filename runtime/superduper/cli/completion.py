"""``superduper completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from superduper.cli import cli
from superduper.cli.options import command as _command


@_command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the set-up of completion: source <(superduper completion bash)."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "superduper", "_SUPERDUPER_COMPLETE").source())


command = completion
