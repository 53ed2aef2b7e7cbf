"""The datalayer of a server: connected in the background, for as long as it takes, and looked after from then on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from superduper import wire
from superduper.catalog import OWNERS
from superduper.datalayer import Datalayer
from superduper.errors import SuperduperError, Unreachable

log = logging.getLogger("superduper.server")

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""Seconds between two attempts to connect."""
LOOK_SECONDS = 3.0
"""Seconds between two looks whether the stores still answer."""
SILENT_SECONDS = 20.0
"""Stores that take longer than this to answer a look are called unreachable."""


class Connection:
    """Holds the datalayer once it is there. ``connect`` raises an error of ours while it is not."""

    def __init__(self, connect: Callable[[], Datalayer]) -> None:
        self._connect = connect
        self._db: Datalayer | None = None
        self._error: SuperduperError | None = Unreachable("the server has only just started and is connecting")
        self._looking_since: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="superduper connection", daemon=True)
        self.connected = threading.Event()

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Connect no more. The datalayer stays open: requests may still use it."""
        self._stop.set()

    def get(self) -> Datalayer:
        """The datalayer. Raises why it is not there; whether its stores answer at the moment shows when it is used."""
        if self._db is None:
            raise self.error() or Unreachable("not connected")
        return self._db

    @property
    def there(self) -> Datalayer | None:
        """The datalayer, if it was ever connected."""
        return self._db

    def error(self) -> SuperduperError | None:
        """Why the stores cannot be used at the moment, as far as is known. A new object each time."""
        since = self._looking_since
        if since is not None and time.monotonic() - since > SILENT_SECONDS:
            # No count of seconds: it stands in a condition, and each other text there would be a write and an event.
            return Unreachable(f"the databases and stores have not answered for more than {SILENT_SECONDS:.0f} seconds")
        if self._error is None:
            return None
        again = wire.error_from(wire.error_to(self._error))
        return again if isinstance(again, SuperduperError) else Unreachable(str(self._error))

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            if self._attempt():
                pause = FIRST_PAUSE
                self._stop.wait(LOOK_SECONDS)
            else:
                self._stop.wait(pause)
                pause = min(LONGEST_PAUSE if self._db is None else LOOK_SECONDS, pause * 2)

    def _attempt(self) -> bool:
        """Connect, or look whether all still answers."""
        try:
            if self._db is None:
                self._db = self._connect()
                log.info("connected: %r", self._db)
            else:
                self._looking_since = time.monotonic()
                look(self._db)
        except SuperduperError as error:
            self._tell(error)
            return False
        except Exception as error:
            log.exception("connecting failed by a fault of the server")
            self._tell(Unreachable(f"connecting failed: {type(error).__name__}: {error}"))
            return False
        finally:
            self._looking_since = None
        self._error = None
        self.connected.set()
        return True

    def _tell(self, error: SuperduperError) -> None:
        if str(error) != str(self._error):
            log.warning("%s: %s", type(error).__name__, error)
        self._error = error


def look(db: Datalayer) -> None:
    """Ask each store something small. Raises what it raises."""
    db.metadata.state()
    db.databackend.list_tables()
    db.artifact_store.head(f"{OWNERS}look")
