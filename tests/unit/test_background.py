"""The server's background: what is removed is let go, and not taken up again behind its remover's back."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

from superduper.server.background import Background
from superduper.server.metrics import Metrics

KEY = ("Table", "t")


def test_what_is_being_removed_is_not_taken_up_again_before_it_is_gone() -> None:
    state = SimpleNamespace(settings=SimpleNamespace(background=2), metrics=Metrics())
    background = Background(cast(Any, state))
    begun, again = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        while True:
            background.check(KEY)

    try:
        assert background.submit(KEY, work)
        assert begun.wait(10)
        with background.kept_from(KEY, 10) as ended:
            assert ended
            assert not background.submit(KEY, again.set), "the look-out took it up again"
        assert background.submit(KEY, again.set, again=True)
        assert again.wait(10)
    finally:
        background.stop()
