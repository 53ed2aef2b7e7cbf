"""What runs before an uninstall: the operator is stopped, then its finalizers are taken off everything.

The objects stay, with all that was made of them. Without this, each would wait, when deleted, for an operator that is gone.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
FINALIZER = "superduper.io/finalizer"
KINDS = ("models", "tables", "datatypes", "datalayers")
CONTEXT = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")


def request(method: str, path: str, body: object = None) -> dict[str, Any]:
    """Raises HTTPError, URLError."""
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    with open(f"{ACCOUNT}/token") as token:
        headers = {"Authorization": f"Bearer {token.read()}", "Content-Type": "application/merge-patch+json"}
    url = f"https://{f'[{host}]' if ':' in host else host}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}"
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(asked, timeout=30, context=CONTEXT) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def stop(namespace: str, deployment: str, selector: str) -> None:
    """Scale to nothing and wait for the pods to go: one that runs would put the finalizers back."""
    scale = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}/scale"
    try:
        request("PATCH", scale, {"spec": {"replicas": 0}})
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
    pods = f"/api/v1/namespaces/{namespace}/pods?labelSelector={urllib.parse.quote(selector)}"
    deadline = time.monotonic() + 90
    while running := [pod["metadata"]["name"] for pod in request("GET", pods)["items"]]:
        if time.monotonic() > deadline:
            sys.exit(f"still there after 90 s: {', '.join(running)}; uninstall again once they are gone")
        time.sleep(1)


def objects(kind: str, namespace: str) -> Iterator[dict[str, Any]]:
    """All objects of a kind, page by page. None where the kind is not defined."""
    where = f"namespaces/{namespace}/" if namespace else ""
    resume = ""
    while True:
        path = f"/apis/superduper.io/v1alpha1/{where}{kind}?limit=500&continue={urllib.parse.quote(resume)}"
        try:
            page = request("GET", path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return
            raise
        yield from page["items"]
        if not (resume := page["metadata"].get("continue", "")):
            return


def free(kind: str, metadata: dict[str, Any]) -> bool:
    """Take the finalizer off; whether it was there."""
    path = f"/apis/superduper.io/v1alpha1/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}"
    for _ in range(5):
        if FINALIZER not in metadata.get("finalizers", []):
            return False
        left = [name for name in metadata["finalizers"] if name != FINALIZER]
        try:
            request("PATCH", path, {"metadata": {"finalizers": left, "resourceVersion": metadata["resourceVersion"]}})
            return True
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            if error.code != 409:
                raise
            metadata = request("GET", path)["metadata"]
    sys.exit(f"{kind} {metadata['namespace']}/{metadata['name']} is being changed all the time; uninstall again")


namespace, deployment, selector, *namespaces = sys.argv[1:]
stop(namespace, deployment, selector)
for kind in KINDS:
    freed = [free(kind, item["metadata"]) for where in namespaces or [""] for item in objects(kind, where)]
    print(f"{kind}: {len(freed)} objects stay, {sum(freed)} finalizers taken off")
