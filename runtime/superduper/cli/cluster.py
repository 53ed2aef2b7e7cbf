"""A cluster in the place of a home folder: its objects, and connections to its Datalayers' servers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from superduper.api.v1alpha1 import KINDS
from superduper.cli.kubectl import GROUP, PLAIN, PUBLIC, Kubectl
from superduper.embedded.home import Home
from superduper.embedded.state import Record, State, status_type
from superduper.errors import NotFound, Unreachable, VersionError, nearest

if TYPE_CHECKING:
    from superduper.cli import Run
    from superduper.datalayer import Datalayer

ALL = ",".join(f"{kind.lower()}s.{GROUP}" for kind in KINDS)
_META = ("name", "labels", "annotations")


class ClusterState(State):
    """The objects of one namespace, as the API server has them; nothing is kept or changed here."""

    def __init__(self, home: str, kubectl: Kubectl) -> None:
        super().__init__(home)
        self.kubectl = kubectl
        self._all: list[Record] | None = None

    def all(self) -> list[Record]:
        if self._all is None:
            kinds = list(KINDS)
            found = [_record(said) for said in self.kubectl.objects(ALL)]
            self._all = sorted(found, key=lambda record: (kinds.index(record.kind), record.name))
        return self._all

    def find(self, kind: str, name: str) -> Record | None:
        return next((r for r in self.all() if (r.kind, r.name) == (kind, name)), None)

    def get(self, kind: str, name: str) -> Record:
        same = [record for record in self.all() if record.kind == kind]
        for field in ("name", "identifier"):
            named = [record for record in same if getattr(record, field) == name]
            if len(named) == 1:
                return named[0]
        raise NotFound(
            f"no {kind} {name!r} in {self.kubectl.place()} of the cluster{nearest(name, [r.name for r in same])}"
        )


class ClusterHome(Home):
    """One namespace of a cluster. Tunnels to servers last until it is closed."""

    in_cluster = True

    def __init__(self, run: Run) -> None:
        super().__init__(run.folder())
        self.kubectl = Kubectl(run.namespace)
        self.state: ClusterState = ClusterState(str(run.folder()), self.kubectl)
        self._direct, self._token = run.direct, run.token
        self._tunnels = ExitStack()

    def datalayer(self, name: str) -> Datalayer:
        """A connection to the server of that Datalayer. Raises NotFound, AccessDenied, Unreachable."""
        if name not in self._open:
            self._open[name] = self._connect(name)
        return self._open[name]

    def _connect(self, name: str) -> Datalayer:
        from superduper.datalayer import superduper

        record = self.state.get("Datalayer", name)
        endpoint, secret = _served(record)
        token = self._token or self.kubectl.secret(secret, "token")
        host = urlsplit(endpoint).hostname or f"{name}-server"
        if self._direct:
            address = endpoint
        elif endpoint.startswith("https"):
            # The tunnel is encrypted by itself, and a certificate for the Service's name does not fit its end.
            port = self._tunnels.enter_context(self.kubectl.forwarded(f"deployment/{host.partition('.')[0]}", PLAIN))
            address = f"http://127.0.0.1:{port}"
        else:
            port = self._tunnels.enter_context(self.kubectl.forwarded(f"service/{host.partition('.')[0]}", PUBLIC))
            address = f"http://127.0.0.1:{port}"
        return superduper(address, home=str(self.path), token=token)

    def close(self) -> None:
        """Give back connections, and end the tunnels."""
        with self._tunnels:
            super().close()


def _served(record: Record) -> tuple[str, str]:
    """Address of the server and name of the Secret with its token. Raises Unreachable where the Datalayer has none."""
    status: Any = record.status
    ready = status.condition("Ready")
    if ready is not None and ready.status == "False":
        raise Unreachable(
            f"Datalayer {record.name!r} is not ready: {ready.reason.value}: {ready.message or 'no message'}; "
            f"superduper --datalayer {record.name} describe datalayer {record.name} tells more"
        )
    if not status.endpoint or not status.token_secret:
        raise Unreachable(
            f"Datalayer {record.name!r} has no server yet: its status names no endpoint; check that the operator runs "
            "(kubectl get pods -A -l app.kubernetes.io/name=superduper-operator)"
        )
    return status.endpoint, status.token_secret


def _record(said: dict[str, Any]) -> Record:
    """An object of the API server. Fields of its status that this superduper does not know are passed over.

    Raises VersionError for an object that it cannot read.
    """
    try:
        return _read(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise VersionError(
            f"{said['kind']} {said['metadata']['name']!r} of the cluster: {where}: {first['msg']}; is the cluster's superduper "
            "newer than this one? pip install -U superduper"
        ) from error


def _read(said: dict[str, Any]) -> Record:
    kind, meta = str(said["kind"]), said["metadata"]
    bare = {"apiVersion": said["apiVersion"], "kind": kind, "metadata": {k: meta[k] for k in _META if k in meta}}
    made = KINDS[kind].model_validate({**bare, "spec": said.get("spec", {})})
    status = status_type(kind)
    known = {field.alias or name for name, field in status.model_fields.items()}
    return Record(
        object=made,
        datalayer=made.metadata.name if kind == "Datalayer" else made.spec.datalayer_ref.name,  # type: ignore[union-attr]
        identifier=getattr(made, "identifier", made.metadata.name),
        generation=int(meta.get("generation", 1)),
        created=str(meta.get("creationTimestamp", "1970-01-01T00:00:00Z")),
        status=status.model_validate({k: v for k, v in (said.get("status") or {}).items() if k in known}),
    )
