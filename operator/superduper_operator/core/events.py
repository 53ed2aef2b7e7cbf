"""Events: what ``kubectl describe`` shows under an object. Posted in the background, each once, never too many."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from superduper_operator.core.api import Api
from superduper_operator.core.errors import ApiError, NotFound
from superduper_operator.core.manifest import Manifest
from superduper_operator.core.resources import MANAGER

log = logging.getLogger(__name__)

REPEAT: Final = 600.0
"""The same event about the same object is posted again after so many seconds at the earliest."""
BURST: Final = 25
"""So many events about one object may come at once …"""
REFILL: Final = 30.0
"""… and one more each so many seconds."""
WAITING: Final = 1000
"""Events that may wait to be posted; what comes then is dropped."""
REMEMBERED: Final = 20_000
LONGEST: Final = 1024


class Limits:
    """Which events pass: pure, on a clock that the caller reads."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._budget: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def passes(self, uid: str, reason: str, message: str, now: float) -> bool:
        """Whether this event is new, and within what its object may post."""
        what = (uid, reason, message)
        last = self._seen.get(what)
        if last is not None and now - last < REPEAT:
            return False
        left, since = self._budget.get(uid, (float(BURST), now))
        left = min(float(BURST), left + (now - since) / REFILL)
        if left < 1:
            return False
        self._budget[uid] = (left - 1, now)
        self._seen[what] = now
        self._seen.move_to_end(what)
        self._budget.move_to_end(uid)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        while len(self._budget) > REMEMBERED:
            self._budget.popitem(last=False)
        return True


class Events:
    """Posts events. ``run`` does it; ``post`` only puts them down."""

    def __init__(self, api: Api, reporter: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._reporter = reporter
        self._clock = clock
        self._limits = Limits()
        self._waiting: asyncio.Queue[Manifest] = asyncio.Queue(WAITING)

    def post(self, obj: Manifest, type: str, reason: str, message: str) -> None:
        """An event about that object, unless it was posted a moment ago."""
        meta = obj["metadata"]
        if not self._limits.passes(meta.get("uid", ""), reason, message, self._clock()):
            return
        try:
            self._waiting.put_nowait(event(obj, type, reason, message, self._reporter, datetime.now(UTC)))
        except asyncio.QueueFull:
            log.warning("too many events wait: one about %s %s is dropped", obj["kind"], meta["name"])

    async def run(self) -> None:
        """Post what waits, for ever."""
        while True:
            waiting = await self._waiting.get()
            try:
                await self._api.create(waiting)
            except NotFound:
                continue  # its namespace is gone
            except ApiError as error:
                log.warning("an event could not be posted: %s", error)


def event(obj: Manifest, type: str, reason: str, message: str, reporter: str, now: datetime) -> Manifest:
    """The Event (v1) about an object."""
    meta = obj["metadata"]
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name'][:200]}.{uuid.uuid4().hex[:16]}", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": obj.get("apiVersion", ""),
            "kind": obj["kind"],
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta.get("uid", ""),
        },
        "type": type,
        "reason": reason,
        "message": message if len(message) <= LONGEST else f"{message[: LONGEST - 1]}…",
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": reporter,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
