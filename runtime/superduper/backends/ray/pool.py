"""Actors of one Ray cluster, shared by all that run models there at the moment."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import ray

from superduper.backends.base.worker import KEPT
from superduper.backends.ray.worker import Worker

IDLE = 60.0
"""Seconds after which actors that nobody uses give their processors back."""

DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.ObjectLostError,
)
"""How Ray says that a worker died, or what it had made with it."""


@dataclass(eq=False, slots=True)
class Slot:
    """An actor, and how many batches it has been given that are not done."""

    actor: Any
    ready: Any
    busy: int = 0
    begun: bool = False
    """Whether it was seen alive."""
    used: float = field(default_factory=time.monotonic)


class Pool:
    """As many actors as the cluster has processors, made when there is work for them."""

    def __init__(self) -> None:
        # Tasks that are lost with their worker are ours to run again: who killed it has to be found.
        self._class: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Worker)
        self._lock = Lock()
        self._slots: list[Slot] = []
        self._models: OrderedDict[str, Any] = OrderedDict()

    @property
    def size(self) -> int:
        """Actors that the cluster has room for."""
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))

    def knows(self, digest: str) -> bool:
        """Whether that model was kept."""
        with self._lock:
            return digest in self._models

    def keep(self, digest: str, data: bytes) -> None:
        """Put a pickled model where each worker finds it."""
        reference = ray.put(data)
        with self._lock:
            self._models[digest] = reference
            while len(self._models) > KEPT:
                self._models.popitem(last=False)

    def model(self, digest: str) -> Any:
        """The reference to a kept model; whoever uses it holds it."""
        with self._lock:
            self._models.move_to_end(digest)
            return self._models[digest]

    def submit(self, digest: str, model: Any, data: bytes, size: int) -> tuple[Any, Slot]:
        """Give a batch to the actor that has least to do, of at most ``size``; gives the reference to what comes."""
        with self._lock:
            slot = min(self._slots, key=lambda each: each.busy, default=None)
            if slot is None or (slot.busy and len(self._slots) < size):
                slot = self._made()
                self._slots.append(slot)
            slot.busy += 1
            return slot.actor.run.remote(digest, [model], data), slot

    def alone(self) -> Slot:
        """An actor for one batch only; ``drop`` ends it."""
        return self._made()

    def done(self, slot: Slot) -> None:
        """A batch of that actor is done."""
        with self._lock:
            slot.busy, slot.begun, slot.used = slot.busy - 1, True, time.monotonic()

    def drop(self, slot: Slot) -> None:
        """End an actor: it is dead, or what it does is no longer asked for."""
        with self._lock:
            if slot in self._slots:
                self._slots.remove(slot)
        ray.kill(slot.actor)

    def rest(self) -> None:
        """End actors that nobody has used for a while."""
        with self._lock:
            old = [slot for slot in self._slots if not slot.busy and time.monotonic() - slot.used > IDLE]
            self._slots = [slot for slot in self._slots if slot not in old]
        for slot in old:
            ray.kill(slot.actor)

    def sees(self, path: str, seconds: float) -> list[str]:
        """Machines with actors that do not see the file. Raises ray's GetTimeoutError."""
        size = self.size
        with self._lock:
            self._slots += [self._made() for _ in range(size - len(self._slots))]
            actors = [slot.actor for slot in self._slots]
        answers = ray.get([actor.sees.remote(path) for actor in actors], timeout=seconds)
        return sorted({address for address in answers if address})

    def _made(self) -> Slot:
        actor: Any = self._class.remote()
        return Slot(actor, actor.ready.remote())
