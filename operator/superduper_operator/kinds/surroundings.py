"""Where a Datalayer's objects are built: from the operator's settings and keys."""

from __future__ import annotations

from superduper.api.v1alpha1 import Datalayer
from superduper_operator.core.context import Context
from superduper_operator.settings import Settings
from superduper_operator.stores.base import Defaults, Place


def defaults(settings: Settings) -> Defaults:
    """What the settings say of everything that is started."""
    return Defaults(
        runtime=settings.runtime_image,
        runtime_ray=settings.runtime_ray_image,
        postgres=settings.postgres_image,
        s3=settings.s3_image,
        ray_version=settings.ray_version,
        pull_policy=settings.image_pull_policy,
        pull_secrets=settings.image_pull_secrets,
        storage_class=settings.storage_class,
        storage_size=settings.storage_size,
        server_resources=settings.server_resources,
        store_resources=settings.store_resources,
        job_resources=settings.job_resources,
        pod_labels=settings.pod_labels,
        network_policies=settings.network_policies,
    )


def place(datalayer: Datalayer, ctx: Context) -> Place:
    """Where the objects of that Datalayer are built."""
    namespace, name = datalayer.metadata.namespace or "default", datalayer.metadata.name
    return Place(
        datalayer=name,
        namespace=namespace,
        uid=datalayer.metadata.uid or "",
        retain=datalayer.spec.deletion_policy == "Retain",
        defaults=defaults(ctx.settings),
        derive=lambda purpose: ctx.keys.derive(namespace, name, purpose),
    )
