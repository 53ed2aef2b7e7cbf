"""A Datalayer brought to what it asks for: stores and server started, asked how they are, dependents told."""

from __future__ import annotations

from datetime import UTC, datetime

from superduper.api.v1alpha1 import Datalayer, Reason
from superduper.errors import ManifestError
from superduper_operator import labels
from superduper_operator.core.context import Context
from superduper_operator.core.errors import Invalid, Taken
from superduper_operator.core.reconciler import Key, Result
from superduper_operator.kinds import manifests, surroundings
from superduper_operator.kinds.datalayer import status
from superduper_operator.kinds.datalayer.desired import Desired, desired, kept_sizes
from superduper_operator.kinds.datalayer.status import Children, Verdict
from superduper_operator.kinds.revisions import Revisions
from superduper_operator.podspec import Manifest
from superduper_operator.runtime_client import Info, Refused, ServerDown

COMPONENTS = ("Model", "Table", "DataType")
"""Kinds that live in a Datalayer, in the order in which they are deleted."""
SOON = 3.0
LOOK_AGAIN = 1.0
"""Seconds in which whoever has not yet heard that a volume stays may have claimed it once more."""
IDLE = 60.0
"""Seconds between two questions to a server that has no components."""


class DatalayerReconciler:
    """One instance serves all Datalayers."""

    kind = "Datalayer"

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        """Top-down; the first thing that is not as it should be is what the status says."""
        live = ctx.cache.get(key.kind, key.namespace, key.name)
        if live is None:
            self._revisions.forget(key.namespace, key.name)
            return Result()
        if manifests.paused(live):
            await self._tell(live, ctx, Verdict("Reconciling", Reason.PAUSED, _PAUSED))
            return Result()
        if manifests.deleting(live):
            return await self._delete(key, live, ctx)
        try:
            datalayer = manifests.parsed(Datalayer, live)
        except ManifestError as error:
            await self._tell(live, ctx, Verdict("Stalled", Reason.INVALID, str(error)))
            return Result()
        await ctx.add_finalizer(live)
        return await self._bring_up(key, live, datalayer, ctx)

    async def _bring_up(self, key: Key, live: Manifest, datalayer: Datalayer, ctx: Context) -> Result:
        place = surroundings.place(datalayer, ctx)
        annotations = self._annotations(live, self._children(key, ctx))
        wanted = desired(
            datalayer,
            place,
            operator_namespace=ctx.settings.namespace,
            annotations=annotations,
            sources=_sources(key.namespace, key.name, ctx),
        )
        try:
            await self._apply(key, wanted, ctx)
        except Taken as error:
            await self._tell(live, ctx, Verdict("Stalled", Reason.CONFLICT, str(error)), wanted)
            return Result(IDLE)
        except Invalid as error:
            await self._tell(live, ctx, Verdict("Stalled", Reason.INVALID, str(error)), wanted)
            return Result(IDLE)
        now, children = datetime.now(UTC), self._children(key, ctx)
        stuck = status.trouble(children, now) or (None if ctx.settings.server_url else status.waiting(children))
        if stuck is not None:
            if stuck.reason is Reason.SECRET_MISSING:
                # Perhaps one of ours, collected with an owner of the same name a moment ago.
                for secret in wanted.secrets:
                    await ctx.create_secret(secret, again=True)
            await self._tell(live, ctx, stuck, wanted)
            self._revisions.forget(key.namespace, key.name)
            return Result(SOON)
        answer = await self._ask(key, ctx)
        verdict = status.asked(datalayer, answer, children, now)
        await self._tell(live, ctx, verdict, wanted, answer if isinstance(answer, Info) else None)
        if isinstance(answer, Info):
            self._queue(key, answer, ctx)
            return Result(ctx.settings.poll if self._components(key, ctx) else IDLE)
        self._revisions.forget(key.namespace, key.name)
        if status.starts_anew(wanted.connections, answer, children, now):
            await self._start_anew(live, datalayer, annotations, now, ctx)
        return Result(SOON)

    async def _ask(self, key: Key, ctx: Context) -> Info | Refused | ServerDown:
        try:
            return await ctx.runtime(key.namespace, key.name).info()
        except (Refused, ServerDown) as error:
            return error

    # Children

    async def _apply(self, key: Key, wanted: Desired, ctx: Context) -> None:
        for secret in wanted.secrets:
            await ctx.create_secret(secret)
        live = self._volumes(key.namespace, key.name, ctx)
        for each in kept_sizes(wanted.objects, live):
            await ctx.apply(each)
        # What a setting no longer asks for, of what holds no data.
        names = {(each["kind"], each["metadata"]["name"]) for each in wanted.objects}
        for kind in ("PodDisruptionBudget", "NetworkPolicy"):
            for found in ctx.cache.list(kind, key.namespace, {labels.DATALAYER: key.name}):
                if (kind, found["metadata"]["name"]) not in names:
                    await ctx.delete(kind, key.namespace, found["metadata"]["name"])

    def _volumes(self, namespace: str, name: str, ctx: Context) -> dict[tuple[str, str], Manifest]:
        return {
            (kind, found["metadata"]["name"]): found
            for kind in _VOLUMES
            for found in ctx.cache.list(kind, namespace, {labels.DATALAYER: name})
        }

    def _children(self, key: Key, ctx: Context) -> Children:
        mine = {labels.DATALAYER: key.name}
        deployments = ctx.cache.list("Deployment", key.namespace, {**mine, labels.NAME: "server"})
        pods = ctx.cache.list("Pod", key.namespace, mine)
        return Children(
            deployment=deployments[0] if deployments else None,
            stores=ctx.cache.list("StatefulSet", key.namespace, mine),
            pods=[pod for pod in pods if pod["metadata"]["labels"].get(labels.NAME) != "job"],
        )

    def _annotations(self, live: Manifest, children: Children) -> dict[str, str]:
        """Annotations of the server's pods by which they are made anew: asked for by a person, or by us before."""
        found = {}
        asked = (live["metadata"].get("annotations") or {}).get(labels.RESTART)
        if asked:
            found[labels.RESTART] = asked
        if children.deployment is not None:
            template = children.deployment["spec"]["template"]["metadata"].get("annotations") or {}
            if labels.CREDENTIALS_TRIED in template:
                found[labels.CREDENTIALS_TRIED] = template[labels.CREDENTIALS_TRIED]
        return found

    async def _start_anew(
        self, live: Manifest, datalayer: Datalayer, annotations: dict[str, str], now: datetime, ctx: Context
    ) -> None:
        tried = {**annotations, labels.CREDENTIALS_TRIED: now.strftime("%Y-%m-%dT%H:%M:%SZ")}
        place = surroundings.place(datalayer, ctx)
        wanted = desired(
            datalayer,
            place,
            operator_namespace=ctx.settings.namespace,
            annotations=tried,
            sources=_sources(place.namespace, place.datalayer, ctx),
        )
        await ctx.apply(next(each for each in wanted.objects if each["kind"] == "Deployment"))
        ctx.event(
            live,
            "Normal",
            "Restarted",
            "the server starts anew, to see the Secrets that it is refused with as they are now",
        )

    # Dependents

    def _components(self, key: Key, ctx: Context) -> list[Manifest]:
        return [each for kind in COMPONENTS for each in ctx.cache.referring(kind, key.namespace, key.name)]

    def _queue(self, key: Key, info: Info, ctx: Context) -> None:
        """Everything, as soon as the server can be used; then what the server says has changed."""
        for each in self._components(key, ctx):
            kind, name = each["kind"], each["metadata"]["name"]
            if not self._revisions.current(key.namespace, key.name, f"{kind}/{name}", info.objects):
                ctx.queue.add(Key(kind, key.namespace, name))

    # Telling

    async def _tell(
        self, live: Manifest, ctx: Context, verdict: Verdict, wanted: Desired | None = None, info: Info | None = None
    ) -> None:
        """Status and event, in the same words."""
        previous = live.get("status") or {}
        fields = None if wanted is None else status.fields(wanted.connections, info, previous, kuberay=ctx.kuberay)
        now = manifests.with_condition(live, verdict.state, verdict.reason, verdict.message, fields)
        before = manifests.condition(previous)
        if (before.get("reason"), before.get("message")) != (verdict.reason, verdict.message):
            ctx.event(live, "Warning" if verdict.state == "Stalled" else "Normal", verdict.reason, verdict.message)
        await ctx.write_status(live, now)

    # Deletion

    async def _delete(self, key: Key, live: Manifest, ctx: Context) -> Result:
        """It waits for what is in it. What it made goes with it by owner references, whether or not the stores are up."""
        if labels.FINALIZER not in (live["metadata"].get("finalizers") or ()):
            return Result()
        users = [f"{each['kind']} {each['metadata']['name']}" for each in self._components(key, ctx)]
        if users:
            shown = ", ".join(users[:10]) + (f" and {len(users) - 10} more" if len(users) > 10 else "")
            message = f"it is used by {shown}: delete these, and it goes by itself"
            await self._tell(live, ctx, Verdict("Reconciling", Reason.IN_USE, message))
            # Their deletion needs the server, so it is kept up as it is.
            return Result(SOON)
        try:
            datalayer = manifests.parsed(Datalayer, live)
        except ManifestError:
            # Of one that was never valid nothing was made.
            await ctx.remove_finalizer(live)
            return Result()
        if not await self._settle(live, datalayer, ctx):
            return Result(LOOK_AGAIN)
        await ctx.remove_finalizer(live)
        self._revisions.forget(key.namespace, key.name)
        return Result()

    async def _settle(self, live: Manifest, datalayer: Datalayer, ctx: Context) -> bool:
        """Have volumes go or stay as deletionPolicy says now, whatever it said before; and say what stays.

        False where it is to be looked at again, before the Datalayer goes.
        """
        place = surroundings.place(datalayer, ctx)
        wanted = desired(datalayer, place, operator_namespace=ctx.settings.namespace)
        if not wanted.claims:
            return True
        claims = ", ".join(wanted.claims)
        if not place.retain:
            for name in wanted.claims:
                await ctx.delete("PersistentVolumeClaim", place.namespace, name)
            ctx.event(
                live,
                "Normal",
                Reason.DELETING,
                f"deletionPolicy is Delete: its data is removed, volume claims {claims}",
            )
            return True
        for each in kept_sizes(wanted.objects, self._volumes(place.namespace, place.datalayer, ctx)):
            # Without its owner a claim is not collected.
            if ctx.cache.get(each["kind"], place.namespace, each["metadata"]["name"]) and each["kind"] in _VOLUMES:
                await ctx.apply(each)
        # Those that the StatefulSet controller gave a claim it takes back some time later: too late, where the set goes now.
        if any([await ctx.disown("PersistentVolumeClaim", place.namespace, name, _OWNERS) for name in wanted.claims]):
            return False
        secrets = [each["metadata"]["name"] for each in wanted.secrets if "ownerReferences" not in each["metadata"]]
        also = f" and Secrets {', '.join(secrets)}" if secrets else ""
        message = f"deletionPolicy is Retain: volume claims {claims}{also} stay; a Datalayer of the same name finds them again"
        ctx.event(live, "Normal", "Retained", message)
        return True


def _sources(namespace: str, name: str, ctx: Context) -> list[str]:
    """Secrets with the credentials of tables' sources."""
    given = [
        (each["spec"].get("source") or {}).get("credentialsFrom")
        for each in ctx.cache.referring("Table", namespace, name)
    ]
    return [each["secretRef"]["name"] for each in given if each]


_OWNERS = ("Datalayer", "StatefulSet", "Pod")
"""With what a volume claim of ours may be collected."""
_VOLUMES = ("StatefulSet", "PersistentVolumeClaim")
_PAUSED = f'the annotation {labels.PAUSED} is "true": it is left as it is; take the annotation away to go on'
