"""What TAB offers: kinds, and the names of objects that the home folder knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from superduper.cli import Run

if TYPE_CHECKING:
    from superduper.embedded.state import Record

Offer = Callable[[click.Context, click.Parameter, str], list[str]]
"""Gives the words that begin as what was typed."""


def of(kind: str) -> Offer:
    """Names of the objects of a kind."""

    def offer(ctx: click.Context, _: click.Parameter, typed: str) -> list[str]:
        return _beginning(typed, [record.name for record in _records(ctx) if record.kind == kind])

    return offer


def kinds_and_names(*also: str) -> Offer:
    """For ``KIND NAME…`` and ``KIND/NAME…``; ``also`` are words that may stand in the place of a kind."""

    def offer(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        from superduper.cli.options import KINDS

        given: tuple[str, ...] = ctx.params.get(str(parameter.name)) or ()
        records = _records(ctx)
        if "/" in typed or any("/" in word for word in given):
            names = [f"{record.kind.lower()}/{record.name}" for record in records]
            spelt = {word: kind for kind, words in KINDS.items() for word in words}
            kind = spelt.get(typed.partition("/")[0].lower()) if "/" in typed else None
            if kind is not None:
                # As it was begun: mdl/ goes on with mdl/NAME.
                names = [f"{typed.partition('/')[0]}/{record.name}" for record in records if record.kind == kind]
            return _beginning(typed, [name for name in names if name not in given])
        if not given:
            return _beginning(typed, [*also, *(words[1] for words in KINDS.values())])
        words = [kind for kind, words in KINDS.items() if given[0].lower() in words]
        return _beginning(
            typed, [record.name for record in records if [record.kind] == words and record.name not in given]
        )

    return offer


def _records(ctx: click.Context) -> list[Record]:
    """The objects; none where they cannot be read, as a prompt is no place for an error."""
    from superduper.embedded.state import State
    from superduper.errors import SuperduperError

    run = ctx.find_object(Run) or Run()
    # The group itself is not called while its words are completed.
    run.home = run.home or ctx.find_root().params.get("home")
    try:
        return State(run.folder()).all()
    except SuperduperError:
        return []


def _beginning(typed: str, words: list[str]) -> list[str]:
    return [word for word in words if word.startswith(typed)]
