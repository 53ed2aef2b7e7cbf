"""``superduper version``."""

from __future__ import annotations

import platform

import click

import superduper
from superduper.cli.options import as_json
from superduper.cli.options import command as _command
from superduper.cli.output import json_line


@_command
@as_json
def version(json_: bool) -> None:
    """Print the version of superduper and of Python."""
    if json_:
        json_line({"superduper": superduper.__version__, "python": platform.python_version()})
    else:
        click.echo(f"superduper {superduper.__version__} (Python {platform.python_version()})")


command = version
