"""A Model: handed over to the datalayer's server; what that does not do by itself is done by a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from superduper.api.v1alpha1 import Model, Reason
from superduper.errors import ManifestError
from superduper_operator import labels, pods
from superduper_operator.compute import KINDS
from superduper_operator.compute.base import TEMPLATE, Kind, KubeRay, MissingCompute, Order, choose, effective
from superduper_operator.compute.kuberay import NEWEST, without
from superduper_operator.core.context import Context
from superduper_operator.core.errors import ApiError
from superduper_operator.core.reconciler import Key, Result
from superduper_operator.kinds import manifests, surroundings
from superduper_operator.kinds.component import SOON, ComponentReconciler, datalayer_of, with_answer
from superduper_operator.kinds.model.status import Seen, Step, next_step, submitted_apart, superfluous, told
from superduper_operator.kinds.revisions import Revisions
from superduper_operator.podspec import Manifest
from superduper_operator.runtime_client import Answer, Info, Refused, ServerDown, Work
from superduper_operator.stores.connections import EMBEDDED, resolve

LOST_SECONDS = 60
"""A pod that is still there so long after it should have ended is on a node that does not answer."""

ENDED_SECONDS = 120
"""For so long a deletion waits for pods, also for such as nobody stops: their 30 s of grace, and LOST_SECONDS after it."""


class ModelReconciler(ComponentReconciler[Model]):
    """One instance serves all Models."""

    kind = "Model"
    type = Model

    def __init__(self, revisions: Revisions) -> None:
        super().__init__(revisions)
        self._kuberay = NEWEST
        self._strict: set[str] = set()
        """Namespaces that do not admit the container by which KubeRay submits from within a head."""

    async def answered(self, key: Key, live: Manifest, resource: Model, answer: Answer, ctx: Context) -> Result:
        """Start, watch and stop jobs as the answer asks; write down how far it is."""
        jobs = self._jobs(live, ctx)
        for each in superfluous(jobs):
            await ctx.delete(each.live["kind"], key.namespace, each.name)
        suspended = manifests.condition(answer.status).get("reason") == Reason.SUSPENDED
        if suspended:
            await self.remove_children(live, ctx)
        if answer.work is None or answer.work.by == "server" or suspended:
            await self.write(
                live, ctx, told(live, replace(answer, work=None), jobs[-1] if jobs else None, given_up=False)
            )
            busy = manifests.condition(answer.status, "Reconciling").get("status") == "True"
            return Result(SOON) if busy else Result()
        return await self._by_job(live, resource, answer, answer.work, jobs, ctx)

    async def remove_children(self, live: Manifest, ctx: Context) -> None:
        """Stop the jobs that have not ended."""
        for job in self._jobs(live, ctx):
            if not job.observation.over:
                await ctx.delete(job.live["kind"], live["metadata"]["namespace"], job.name)

    def lingering(self, live: Manifest, ctx: Context) -> Sequence[str]:
        """Pods of stopped jobs, for as long as the deletion may wait for them."""
        since = pods.moment(live["metadata"].get("deletionTimestamp"))
        late = since is not None and (datetime.now(UTC) - since).total_seconds() > ENDED_SECONDS
        over = [job for job in self._jobs(live, ctx) if job.observation.over]
        found = _lingering(live, over, ctx)
        if found and late:
            message = f"it is removed while pods of its jobs do not end: {', '.join(found)}; what they write may stay"
            ctx.event(live, "Warning", "LeftBehind", message)
        return () if late else found

    async def _by_job(
        self, live: Manifest, resource: Model, answer: Answer, work: Work, jobs: Sequence[Seen], ctx: Context
    ) -> Result:
        try:
            kind, order = await self._order(live, resource, work, ctx)
        except (MissingCompute, ManifestError) as error:
            reason = Reason.COMPUTE_MISSING if isinstance(error, MissingCompute) else Reason.INVALID
            fields = with_answer(live, answer)
            kept = {name: value for name, value in fields.items() if name not in ("conditions", "observedGeneration")}
            await self.write(live, ctx, manifests.with_condition(live, "Stalled", reason, str(error), kept))
            return Result()
        if submitted_apart(jobs):
            # One that is refused is made anew at once, to be submitted by a pod of its own.
            self._strict.add(order.place.namespace)
            order = replace(order, kuberay=self._can(order.place.namespace))
        template = _template(KINDS[kind].desired(order))
        step = next_step(work, template, jobs, datetime.now(UTC))
        if step.do == "start" and _lingering(live, jobs, ctx):
            # The pod of a job that was stopped may still be writing.
            step = Step("wait", seconds=2.0)
        job = jobs[-1] if jobs else None
        if step.do == "stop":
            await self.remove_children(live, ctx)
            job = None
        if step.do == "start":
            started = await self._start(live, kind, replace(order, run=step.run), ctx)
            job = Seen(started, KINDS[kind].observe(started, (), datetime.now(UTC))) if started is not None else None
            if started is None:
                step = replace(step, seconds=0.5)
        await self.write(live, ctx, told(live, answer, job, given_up=step.do == "give up"))
        return Result(step.seconds or (1.0 if job is None else 10.0))

    async def _order(self, live: Manifest, resource: Model, work: Work, ctx: Context) -> tuple[Kind, Order]:
        """Raises MissingCompute and ManifestError."""
        datalayer = datalayer_of(live, ctx)
        compute = effective(resource.spec.compute, datalayer.spec.compute)
        kind = choose(compute, kuberay=ctx.kuberay)
        place = surroundings.place(datalayer, ctx)
        connections = resolve(datalayer, place)
        own = await self._leads_to_volume(live, ctx) if connections.by_secret else False
        predict = resource.spec.predict
        return kind, Order(
            model=resource,
            compute=compute,
            place=place,
            connections=connections,
            key=work.key,
            asked=predict is not None and predict.trigger == "Manual" and work.predicting > 0,
            through_server=own,
            kuberay=self._can(place.namespace),
        )

    async def _leads_to_volume(self, live: Manifest, ctx: Context) -> bool:
        """Whether the URI in a Secret, which the server alone reads, names a file on its volume."""
        try:
            info: Info = await self._client(live, ctx).info()
        except (Refused, ServerDown):
            return False
        return any(uri.partition(":")[0].partition("+")[0] in EMBEDDED for uri in (info.databackend, info.metadata))

    def _can(self, namespace: str) -> KubeRay:
        return replace(self._kuberay, sidecar=False) if namespace in self._strict else self._kuberay

    async def _start(self, live: Manifest, kind: Kind, order: Order, ctx: Context) -> Manifest | None:
        """The job as it is there; None where KubeRay is older than was thought, and the next look makes it so."""
        manifest = KINDS[kind].desired(order)
        name = manifest["metadata"]["name"]
        try:
            made = await ctx.apply(manifest)
        except ApiError as error:
            less = without(str(error), self._kuberay)
            if less is None:
                raise
            self._kuberay = less
            return None
        ctx.event(live, "Normal", "JobStarted", f"{kind} {name} is started (work {order.key}, run {order.run + 1})")
        return made

    def _jobs(self, live: Manifest, ctx: Context) -> list[Seen]:
        """The model's jobs, oldest first; those that are being deleted have no say any more."""
        return sorted(_seen(live, ctx), key=lambda job: (job.live["metadata"].get("creationTimestamp") or "", job.run))


def _seen(live: Manifest, ctx: Context) -> Iterator[Seen]:
    namespace, now = live["metadata"]["namespace"], datetime.now(UTC)
    mine = {labels.MODEL: live["metadata"]["name"]}
    for kind, found in KINDS.items():
        for each in ctx.cache.list(kind, namespace, mine):
            if not manifests.deleting(each):
                own = ctx.cache.list("Pod", namespace, {**mine, labels.JOB: each["metadata"]["name"]})
                yield Seen(each, found.observe(each, own, now))


def _lingering(live: Manifest, jobs: Sequence[Seen], ctx: Context) -> list[str]:
    """Pods that still run, of other jobs than these. One on a node that is lost is not waited for without end."""
    now, known, found = datetime.now(UTC), {job.name for job in jobs}, []
    for pod in ctx.cache.list("Pod", live["metadata"]["namespace"], {labels.MODEL: live["metadata"]["name"]}):
        gone = pods.moment(pod["metadata"].get("deletionTimestamp"))
        lost = gone is not None and (now - gone).total_seconds() > LOST_SECONDS
        alive = (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        if alive and not lost and pod["metadata"]["labels"].get(labels.JOB) not in known:
            found.append(pod["metadata"]["name"])
    return found


def _template(manifest: Manifest) -> str:
    found: str = manifest["metadata"]["annotations"][TEMPLATE]
    return found
