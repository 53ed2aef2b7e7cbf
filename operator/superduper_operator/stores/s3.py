"""An S3 store in one pod: versitygw over a volume. Production points ``uri`` at Ceph, SeaweedFS or a cloud's S3."""

from __future__ import annotations

from superduper.api.v1alpha1.datalayer import ArtifactStoreProvision
from superduper_operator.environment import SecretKey, to_env
from superduper_operator.podspec import Manifest, container, empty_dir, http_probe, resources
from superduper_operator.stores import base
from superduper_operator.stores.base import Connection, Place, Role, Store

PORT = 9000
PART = "s3"
BUCKET = "superduper"
REGION = "us-east-1"


def build(place: Place, role: Role, provision: ArtifactStoreProvision) -> Store:
    """A StatefulSet with a volume, its Service, its NetworkPolicy, and a Secret with derived keys."""
    name = place.name(PART)
    return Store(
        connection=Connection(
            SecretKey(name, "uri"),
            {key: SecretKey(name, key) for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")},
        ),
        secrets=(_secret(place, name),),
        objects=(
            base.service(place, name, PART, role, PORT),
            base.stateful_set(place, name, PART, role, _pod(place, name), provision.storage),
            base.network_policy(place, name, PART, role, PORT),
        ),
        claims=(f"data-{name}-0",),
    )


def _secret(place: Place, name: str) -> Manifest:
    endpoint = f"http://{name}.{place.namespace}.svc:{PORT}"
    data = {
        "AWS_ACCESS_KEY_ID": place.derive(f"{name}/access")[:20],
        "AWS_SECRET_ACCESS_KEY": place.derive(f"{name}/secret"),
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "bucket": BUCKET,
        "uri": f"s3://{BUCKET}?endpoint={endpoint}&region={REGION}",
    }
    # Retained data stays readable: its keys outlive the Datalayer.
    return base.secret(place, name, PART, data, owned=not place.retain)


def _pod(place: Place, name: str) -> Manifest:
    ready = http_probe("/health", PART, timeoutSeconds=5)
    gateway = container(
        PART,
        place.defaults.s3,
        # No `command`: the official image and one from scratch have versitygw as their entrypoint, at different paths.
        # Attributes lie beside the objects, since not every volume takes extended attributes.
        args=[*("--port", f":{PORT}", "--region", REGION, "--health", "/health"),
              *("posix", "--sidecar", "/attributes", "/objects")],
        env=to_env(
            {
                "ROOT_ACCESS_KEY": SecretKey(name, "AWS_ACCESS_KEY_ID"),
                "ROOT_SECRET_KEY": SecretKey(name, "AWS_SECRET_ACCESS_KEY"),
            }
        ),
        resources=resources(None, place.defaults.store_resources),
        ports=[{"name": PART, "containerPort": PORT, "protocol": "TCP"}],
        startupProbe={**ready, "periodSeconds": 1, "failureThreshold": 120},
        readinessProbe={**ready, "periodSeconds": 5, "failureThreshold": 3},
        livenessProbe={**ready, "periodSeconds": 10, "failureThreshold": 6},
    )  # fmt: skip
    gateway["volumeMounts"] = [
        {"name": "data", "mountPath": "/objects", "subPath": "objects"},
        {"name": "data", "mountPath": "/attributes", "subPath": "attributes"},
        # A bucket is a folder, and kubelet makes the folder of a subPath: no job is needed that creates it.
        {"name": "data", "mountPath": "/bucket", "subPath": f"objects/{BUCKET}"},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
    ]
    return place.pod([gateway], [empty_dir("tmp", "1Gi")], grace=30)
