"""What `helm test` runs: the operator is ready, and the API server takes a Datalayer and refuses a wrong one."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
PATH = "/apis/superduper.io/v1alpha1/namespaces/{}/datalayers?dryRun=All&fieldValidation=Strict"


def ready(url: str) -> None:
    """Raises URLError where the operator is not ready."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        print("operator:", answer.status, answer.read(200).decode())


def create(spec: dict[str, object]) -> tuple[int, str]:
    """Status and message of a dry run."""
    with open(f"{ACCOUNT}/token") as token, open(f"{ACCOUNT}/namespace") as namespace:
        authorization, path = f"Bearer {token.read()}", PATH.format(namespace.read())
    body = {
        "apiVersion": "superduper.io/v1alpha1",
        "kind": "Datalayer",
        "metadata": {"name": "helm-test"},
        "spec": spec,
    }
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    request = urllib.request.Request(
        f"https://{f'[{host}]' if ':' in host else host}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}",
        json.dumps(body).encode(),
        {"Authorization": authorization, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(
            request, timeout=10, context=ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
        ) as answer:
            return answer.status, "taken"
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()).get("message", "")


ready(sys.argv[1])
status, message = create({"databackend": {"provision": {"engine": "sqlite"}}})
print("a Datalayer:", status, message)
wrong, refusal = create({"databackend": {"provision": {"engine": "sqlite"}, "uri": "sqlite://a.db"}})
print("one with a database too many:", wrong, refusal)
sys.exit(0 if status == 201 and wrong == 422 else 1)
