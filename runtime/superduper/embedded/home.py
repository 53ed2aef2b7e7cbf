"""The home folder: the objects that were applied, and connections to their datalayers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from superduper.api.v1alpha1.datalayer import ArtifactStoreSpec, Database
from superduper.api.v1alpha1.datalayer import Datalayer as DatalayerObject
from superduper.api.v1alpha1.server import Server
from superduper.embedded.state import Record, State
from superduper.errors import ConfigError, NotFound, nearest
from superduper.uris import anchored

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer
    from superduper.manifests import Manifest


class Home:
    """One home folder. Opens each datalayer once; use it as a context manager."""

    in_cluster = False
    """Whether its objects are a cluster's, so that nothing is written down here."""

    def __init__(self, home: str | Path) -> None:
        self.path = Path(home)
        self.state = State(home)
        self._open: dict[str, Datalayer] = {}

    def choose(self, name: str | None = None) -> Record:
        """The Datalayer of that name, or the only one. Raises NotFound; ConfigError where it has to be named."""
        if name is not None:
            return self.state.get("Datalayer", name)
        found = [record for record in self.state.all() if record.kind == "Datalayer"]
        if not found:
            raise NotFound(f"no Datalayer in {self.path}: apply one with superduper apply -f, or give --uri")
        if len(found) > 1:
            raise ConfigError(f"several Datalayers, choose one with -d: {', '.join(record.name for record in found)}")
        return found[0]

    def datalayer(self, name: str) -> Datalayer:
        """A connection to the Datalayer of that name. Raises NotFound, and what connecting raises."""
        if name not in self._open:
            record = self.state.find("Datalayer", name)
            if record is None:
                known = [found.name for found in self.state.all() if found.kind == "Datalayer"]
                raise NotFound(f"no Datalayer {name!r} in {self.path}{nearest(name, known)}")
            self._open[name] = connect(record.memo, self.path)
        return self._open[name]

    def forget(self, name: str) -> None:
        """Close the connection to a Datalayer, so that the next use opens it anew."""
        if name in self._open:
            self._open.pop(name).close()

    def close(self) -> None:
        """Give back all connections."""
        for name in list(self._open):
            self.forget(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(memo: Mapping[str, Any], home: Path) -> Datalayer:
    """A connection by the URIs that a Datalayer's record remembers."""
    from superduper.datalayer import superduper

    return superduper(
        memo["databackend"],
        metadata_store=memo["metadata"],
        artifact_store=memo["artifact_store"],
        compute=memo["compute"],
        home=str(home),
        hash=memo["hash"],
    )


def connections(manifest: Manifest, home: Path) -> tuple[dict[str, str], list[str]]:
    """What a Datalayer's record remembers, and a line for each part that is another one in a cluster.

    Relative databases and stores lie in the current folder, as they do from Python.
    """
    from superduper.datalayer import default_artifacts, default_metadata

    found = manifest.object
    assert isinstance(found, DatalayerObject)
    spec, notes = found.spec, []
    folder = home.resolve()

    def uri(field: str, part: Database | ArtifactStoreSpec, in_place: str) -> str:
        if part.uri_from is not None:
            text = manifest.secret(part.uri_from.secret_key_ref, ("spec", field, "uriFrom"))
            return anchored(text.strip(), Path.cwd())
        if part.uri is not None:
            return anchored(part.uri, Path.cwd())
        assert part.provision is not None
        notes.append(f"{field}: {part.provision.engine} is provisioned in a cluster; here it is {in_place}")
        return in_place

    name = found.metadata.name
    duckdb = spec.databackend.provision is not None and spec.databackend.provision.engine == "duckdb"
    file = f"duckdb:///{folder / name}.duckdb" if duckdb else f"sqlite:///{folder / name}.db"
    databackend = uri("databackend", spec.databackend, file)
    metadata = default_metadata(databackend, folder)
    if spec.metadata is not None:
        metadata = uri("metadata", spec.metadata, f"sqlite:///{folder / name}-metadata.db")
    artifacts = default_artifacts(databackend, folder)
    if spec.artifact_store is not None:
        artifacts = uri("artifactStore", spec.artifact_store, f"filesystem://{folder / name}-artifacts")
    memo = {
        "databackend": databackend,
        "metadata": metadata,
        "artifact_store": artifacts,
        "hash": spec.artifact_store.hash if spec.artifact_store is not None else "sha1",
        "compute": spec.compute.uri or "local",
    }
    if spec.server != Server():
        notes.append("server: is started in a cluster; here everything runs in this process")
    if spec.compute.cluster_only:
        notes.append(
            f"compute: {', '.join(spec.compute.cluster_only)} without effect here: models run in {memo['compute']}"
        )
    return memo, notes
