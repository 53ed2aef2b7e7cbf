"""The flow that DataTypes, Tables and Models share: references, code from ConfigMaps, handing over, removing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from superduper.api import references as api_references
from superduper.api.v1alpha1 import Datalayer, DataType, Model, Reason, Table
from superduper.api.v1alpha1.common import Code
from superduper.errors import ManifestError
from superduper_operator import labels
from superduper_operator.core.context import Context
from superduper_operator.core.reconciler import Key, Result
from superduper_operator.kinds import manifests, references
from superduper_operator.kinds.manifests import State
from superduper_operator.kinds.revisions import Revisions
from superduper_operator.podspec import Manifest
from superduper_operator.runtime_client import Answer, Policy, Refused, ServerDown

C = TypeVar("C", DataType, Table, Model)

SOON = 3.0
"""Seconds between two looks while something is under way."""
CODE_SECONDS = 30.0
"""Seconds between two looks at ConfigMaps that code is taken from."""
LETS_GO_SECONDS = 30.0
"""How long a deletion that removes data waits for a server that does not answer."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why it goes no further for now, and when to look again."""

    state: State
    reason: Reason
    message: str
    again: float | None = None


class ComponentReconciler(Generic[C]):
    """One instance serves all objects of its kind."""

    kind: str
    type: type[C]

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions
        self._silent: dict[str, float] = {}
        """Since when a deletion waits for its server, by the object's uid; on the monotonic clock."""

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        """Top-down; the first thing that is not as it should be is what the status says."""
        live = ctx.cache.get(key.kind, key.namespace, key.name)
        if live is None:
            return Result()
        if manifests.paused(live):
            return await self._stop(live, ctx, Stop("Reconciling", Reason.PAUSED, _PAUSED))
        if manifests.deleting(live):
            return await self._delete(key, live, ctx)
        try:
            resource = manifests.parsed(self.type, live)
        except ManifestError as error:
            return await self._stop(live, ctx, Stop("Stalled", Reason.INVALID, str(error)))
        stop = self._not_yet(live, resource, ctx)
        if stop is not None:
            return await self._stop(live, ctx, stop)
        texts = await _texts(resource, key.namespace, ctx)
        if isinstance(texts, Stop):
            return await self._stop(live, ctx, texts)
        await ctx.add_finalizer(live)
        manifest = handed_over(live, resource, texts, suspend=self._suspended(live, ctx))
        try:
            answer = await self._client(live, ctx).put(key.kind, key.name, manifest)
        except ServerDown as error:
            return await self._stop(live, ctx, Stop("Reconciling", Reason.SERVER_UNAVAILABLE, str(error), SOON))
        except Refused as error:
            return await self._stop(live, ctx, refusal(error))
        self._revisions.saw(key.namespace, _datalayer(live), f"{key.kind}/{key.name}", answer.revision)
        result = await self.answered(key, live, resource, answer, ctx)
        self._tell_dependents(live, answer, ctx)
        return Result(min(result.requeue_after or CODE_SECONDS, CODE_SECONDS)) if texts else result

    async def answered(self, key: Key, live: Manifest, resource: C, answer: Answer, ctx: Context) -> Result:
        """Write down what the server answers; look again soon while it is not done."""
        await self.write(live, ctx, with_answer(live, answer))
        said = manifests.condition(answer.status, "Reconciling")
        return Result(SOON) if said.get("status") == "True" else Result()

    def _tell_dependents(self, live: Manifest, answer: Answer, ctx: Context) -> None:
        """Those that wait for this object look again, as soon as the datalayer has it."""
        if references.applied(live) or not references.applied({**live, "status": answer.status}):
            return
        namespace = live["metadata"]["namespace"]
        for kind in ("Table", "Model"):
            for each in ctx.cache.referring(kind, namespace, _datalayer(live)):
                said = manifests.condition(each.get("status") or {})
                if said.get("reason") == Reason.DEPENDENCY_NOT_READY:
                    ctx.queue.add(Key(kind, namespace, each["metadata"]["name"]))

    async def remove_children(self, live: Manifest, ctx: Context) -> None:
        """Stop what works for the object."""

    def lingering(self, live: Manifest, ctx: Context) -> Sequence[str]:
        """Pods that were stopped and may still write for the object. They are waited for, and never without end."""
        return ()

    async def write(self, live: Manifest, ctx: Context, status: Manifest) -> None:
        """Status and event, in the same words."""
        old, new = manifests.condition(live.get("status") or {}), manifests.condition(status)
        if new and (old.get("reason"), old.get("status")) != (new["reason"], new["status"]):
            stalled = manifests.condition(status, "Stalled").get("status") == "True"
            ctx.event(live, "Warning" if stalled else "Normal", new["reason"], new.get("message") or new["reason"])
        await ctx.write_status(live, status)

    # Before it is handed over

    def _not_yet(self, live: Manifest, resource: C, ctx: Context) -> Stop | None:
        namespace, name = live["metadata"]["namespace"], _datalayer(live)
        layer = ctx.cache.get("Datalayer", namespace, name)
        if layer is None:
            return Stop(
                "Reconciling", Reason.DEPENDENCY_NOT_READY, f"there is no Datalayer {name!r}; it goes on when there is"
            )
        if not manifests.ready(layer):
            said = manifests.condition(layer.get("status") or {})
            why = f": {said['message']}" if said.get("message") else ""
            return Stop("Reconciling", Reason.DEPENDENCY_NOT_READY, f"Datalayer {name!r} is not ready{why}"[:2000])
        older = references.first_of(live, ctx.cache.referring(self.kind, namespace, name))
        if older is not None:
            other = older["metadata"]["name"]
            message = f"{self.kind} {other!r} has the identifier {resource.identifier!r} already; give this one another, or delete {other!r}"
            return Stop("Stalled", Reason.CONFLICT, message, CODE_SECONDS)
        gap = references.missing(resource, lambda kind: ctx.cache.referring(kind, namespace, name))
        return None if gap is None else Stop("Reconciling", Reason.DEPENDENCY_NOT_READY, gap, 10.0)

    def _suspended(self, live: Manifest, ctx: Context) -> bool:
        layer = ctx.cache.get("Datalayer", live["metadata"]["namespace"], _datalayer(live)) or {}
        return bool((layer.get("spec") or {}).get("suspend"))

    def _client(self, live: Manifest, ctx: Context) -> Any:
        return ctx.runtime(live["metadata"]["namespace"], _datalayer(live))

    async def _stop(self, live: Manifest, ctx: Context, stop: Stop) -> Result:
        await self.write(live, ctx, manifests.with_condition(live, stop.state, stop.reason, stop.message))
        return Result(stop.again)

    # Deletion

    async def _delete(self, key: Key, live: Manifest, ctx: Context) -> Result:
        """The server forgets it, and with Delete its data; a server that is gone keeps nobody for long."""
        if labels.FINALIZER not in (live["metadata"].get("finalizers") or ()):
            return Result()
        await self.remove_children(live, ctx)
        policy: Policy = "Delete" if live["spec"].get("deletionPolicy") == "Delete" else "Retain"
        if ctx.cache.get("Datalayer", key.namespace, _datalayer(live)) is not None and not self._is_second(live, ctx):
            writing = self.lingering(live, ctx)
            if writing:
                # What they write after the server has forgotten the object would stay.
                message = f"it waits for pods that were told to stop: {', '.join(writing)}"
                return await self._stop(live, ctx, Stop("Reconciling", Reason.DELETING, message, 2.0))
            try:
                await self._client(live, ctx).delete(key.kind, key.name, policy)
            except Refused as error:
                if error.code == "InUse":
                    self._silent.pop(live["metadata"]["uid"], None)
                    return await self._stop(live, ctx, Stop("Reconciling", Reason.IN_USE, error.message, SOON))
                if self._waits(live, policy):
                    return await self._stop(live, ctx, Stop("Reconciling", Reason.DELETING, error.message, SOON))
                self._left(live, policy, error.message, ctx)
            except ServerDown as error:
                if self._waits(live, policy):
                    return await self._stop(live, ctx, Stop("Reconciling", Reason.DELETING, str(error), SOON))
                self._left(live, policy, str(error), ctx)
        await ctx.remove_finalizer(live)
        self._silent.pop(live["metadata"]["uid"], None)
        self._revisions.forget(key.namespace, _datalayer(live), f"{key.kind}/{key.name}")
        return Result()

    def _is_second(self, live: Manifest, ctx: Context) -> bool:
        """Whether what the server has under the identifier is another object's."""
        others = ctx.cache.referring(self.kind, live["metadata"]["namespace"], _datalayer(live))
        return references.first_of(live, others) is not None

    def _waits(self, live: Manifest, policy: Policy) -> bool:
        now = time.monotonic()
        return policy == "Delete" and now - self._silent.setdefault(live["metadata"]["uid"], now) < LETS_GO_SECONDS

    def _left(self, live: Manifest, policy: Policy, why: str, ctx: Context) -> None:
        what = f"{live['kind']} {references.identifier(live)!r}"
        if policy == "Delete":
            message = (
                f"{what} could not be removed from Datalayer {_datalayer(live)!r} and stays there with its data: {why}"
            )
            ctx.event(live, "Warning", "LeftBehind", message)
        else:
            ctx.event(
                live,
                "Normal",
                "Retained",
                f"{what} stays in Datalayer {_datalayer(live)!r}, which does not answer: {why}",
            )


_PAUSED = f'the annotation {labels.PAUSED} is "true": it is left as it is; take the annotation away to go on'


def _datalayer(live: Manifest) -> str:
    return str((live["spec"].get("datalayerRef") or {}).get("name", ""))


def datalayer_of(live: Manifest, ctx: Context) -> Datalayer:
    """The Datalayer that an object belongs to, which is there. Raises ManifestError."""
    found = ctx.cache.get("Datalayer", live["metadata"]["namespace"], _datalayer(live))
    assert found is not None
    return manifests.parsed(Datalayer, found)


def refusal(error: Refused) -> Stop:
    """What an error of the server means for the object."""
    message = f"{error.field}: {error.message}" if error.field and error.field not in error.message else error.message
    waits = error.reason in (Reason.DEPENDENCY_NOT_READY, Reason.IN_USE)
    again = SOON if waits else 10.0 if error.passing else None
    return Stop("Reconciling" if waits else "Stalled", error.reason, message, again)


def with_answer(live: Manifest, answer: Answer, further: Mapping[str, Any] | None = None) -> Manifest:
    """The server's status as the object's: about this generation, times kept where nothing changed."""
    old, generation = live.get("status") or {}, live["metadata"].get("generation", 0)
    times = {each["type"]: each for each in old.get("conditions") or ()}
    conditions = []
    for each in answer.status.get("conditions") or ():
        before = times.get(each["type"])
        same = before is not None and before["status"] == each["status"]
        since = before["lastTransitionTime"] if same and before is not None else each["lastTransitionTime"]
        conditions.append({**each, "observedGeneration": generation, "lastTransitionTime": since})
    found = {key: value for key, value in answer.status.items() if value is not None}
    return {**found, **(further or {}), "observedGeneration": generation, "conditions": conditions}


def handed_over(
    live: Manifest, resource: DataType | Table | Model, texts: Mapping[Any, str], *, suspend: bool
) -> Manifest:
    """The manifest as the server takes it: code as text, and nothing of what only the cluster needs."""
    found: Any = resource
    for path, code in api_references.codes(resource):
        if path in texts:
            found = api_references.with_value(
                found, path, code.model_copy(update={"source": texts[path], "source_from": None})
            )
    if suspend and isinstance(found, Model):
        found = found.model_copy(update={"spec": found.spec.model_copy(update={"suspend": True})})
    manifest: Manifest = json.loads(json.dumps(found.to_dict()))
    manifest["metadata"] = {
        key: live["metadata"][key] for key in ("name", "namespace", "generation") if key in live["metadata"]
    }
    return manifest


async def _texts(resource: DataType | Table | Model, namespace: str, ctx: Context) -> dict[Any, str] | Stop:
    """Python text by the path of the code that is taken from a ConfigMap."""
    found = {}
    for path, code in api_references.codes(resource):
        text = await _text(code, namespace, ctx)
        if isinstance(text, Stop):
            return text
        if text is not None:
            found[path] = text
    return found


async def _text(code: Code, namespace: str, ctx: Context) -> str | Stop | None:
    if code.source_from is None:
        return None
    ref = code.source_from.config_map_key_ref
    found = await ctx.get_config_map(namespace, ref.name)
    if found is None:
        message = f"there is no ConfigMap {ref.name}, key {ref.key}; create it, and it goes on by itself"
        return Stop("Stalled", Reason.CONFIG_MAP_MISSING, message, SOON)
    text = (found.get("data") or {}).get(ref.key)
    if text is None:
        message = f"ConfigMap {ref.name} has no key {ref.key}; add it, and it goes on by itself"
        return Stop("Stalled", Reason.CONFIG_MAP_MISSING, message, SOON)
    return str(text)
