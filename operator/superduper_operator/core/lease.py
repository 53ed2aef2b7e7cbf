"""Which of several replicas works: one Lease (coordination.k8s.io/v1), held, renewed and given back.

Clocks of two machines differ, so no timestamp is compared with a clock: a replica that waits notes when it last *saw
the Lease change*, on its own monotonic clock, and takes it when that was longer ago than the duration that the holder
promised. (client-go's rule; the times in the Lease are for people.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from superduper_operator.core.api import Api
from superduper_operator.core.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from superduper_operator.core.manifest import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a Lease is kept, in seconds. ``renew_deadline`` is less than ``duration``, so that a leader gives up first."""

    duration: float = 15
    renew_deadline: float = 10
    retry: float = 2


class LeaseLost(Exception):
    """The Lease could not be renewed in time, or another holds it: this process must not write any more."""


class Lease:
    """One replica's hold on the Lease."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        holder: str,
        terms: Terms | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        # A pod that restarts in place is another holder: what its predecessor had begun is not its own.
        self.holder = f"{holder}_{uuid.uuid4().hex[:8]}"
        self._terms = terms or Terms()
        self._clock = clock
        self._seen: Manifest | None = None
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self.held = False

    async def acquire(self) -> None:
        """Wait until it is ours. Raises ``Forbidden`` where the right to it is missing."""
        said = ""
        while not await self._try():
            other = self._spec.get("holderIdentity") or ""
            if other != said:
                log.info("standing by: %s holds the lease", other)
                said = other
            await asyncio.sleep(min(self._terms.retry, self._patience()))
        log.info("this replica leads now, as %s", self.holder)

    async def keep(self) -> None:
        """Renew it for ever. Raises ``LeaseLost`` when it is no longer ours, or not certain to be."""
        while True:
            await asyncio.sleep(self._terms.retry)
            left = self._renewed_at + self._terms.renew_deadline - self._clock()
            try:
                async with asyncio.timeout(max(left, 0)):
                    ours = await self._try()
            except TimeoutError:
                self.held = False
                raise LeaseLost(f"the lease could not be renewed for {self._terms.renew_deadline:g} s") from None
            if not ours and self._seen is not None and self._spec.get("holderIdentity") != self.holder:
                self.held = False
                raise LeaseLost(f"{self._spec.get('holderIdentity') or 'nobody'} holds the lease now")
            if self._clock() - self._renewed_at > self._terms.renew_deadline:
                self.held = False
                raise LeaseLost(f"the lease was not renewed for {self._terms.renew_deadline:g} s")

    async def release(self) -> None:
        """Give it back, so that another need not wait; a Lease that is not ours any more stays as it is."""
        if not self.held or self._seen is None:
            return
        self.held = False
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(self._terms.retry):
                await self._api.replace(
                    {**self._seen, "spec": {**self._spec, "holderIdentity": "", "leaseDurationSeconds": 1}}
                )
                log.info("the lease is given back")

    async def _try(self) -> bool:
        """Take or renew it once; False where another has it, or the API server gives no answer."""
        began = self._clock()
        try:
            if self._seen is None or not self.held:
                await self._look()
            if self._seen is None:
                self._took(await self._api.create(self._lease()), began)
            elif self._may_take():
                self._took(await self._api.replace(self._lease()), began)
            else:
                return False
        except (AlreadyExists, Conflict):
            # Somebody was quicker, or an answer to us was lost: look who has it.
            with contextlib.suppress(ApiError):
                await self._look()
            return False
        except Forbidden:
            raise
        except NotFound:
            # Somebody deleted it; it is made again.
            self._seen = None
            return False
        except ApiError as error:
            log.warning("lease %s/%s: %s", self._namespace, self._name, error)
            return False
        return True

    async def _look(self) -> None:
        try:
            found = await self._api.get("Lease", self._namespace, self._name)
        except NotFound:
            self._seen = None
            return
        if self._seen is None or found["metadata"]["resourceVersion"] != self._seen["metadata"]["resourceVersion"]:
            self._seen_at = self._clock()
        self._seen = found

    def _may_take(self) -> bool:
        holder = self._spec.get("holderIdentity")
        return not holder or holder == self.holder or self._left() < 0

    def _left(self) -> float:
        """Seconds until a holder that is not seen to renew has lost it."""
        promised = float(self._spec.get("leaseDurationSeconds") or self._terms.duration)
        return self._seen_at + promised - self._clock()

    def _patience(self) -> float:
        """Seconds until trying again may be of use: no longer than until the holder's time has run out."""
        left = self._left() if self._seen is not None else 0.0
        return left + 0.05 if left > 0 else self._terms.retry

    def _took(self, lease: Manifest, began: float) -> None:
        """Others may have seen the change as early as we asked for it."""
        self._seen = lease
        self._seen_at = self._renewed_at = began
        self.held = True

    def _lease(self) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = self._spec
        ours = spec.get("holderIdentity") == self.holder
        meta = self._seen["metadata"] if self._seen else {"name": self._name, "namespace": self._namespace}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {key: value for key, value in meta.items() if key != "managedFields"},
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": int(self._terms.duration),
                "acquireTime": spec["acquireTime"] if ours and "acquireTime" in spec else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if ours or not self._seen else 1),
            },
        }

    @property
    def _spec(self) -> Manifest:
        spec: Manifest = (self._seen or {}).get("spec") or {}
        return spec
