"""``python -m superduper``: the command line."""

from __future__ import annotations

from superduper.cli import main

main()
