"""Where models run, and what pods may use."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictInt, StringConstraints

from superduper.api.v1alpha1.common import Address, Image, Quantity, Rule, Spec

Engine = Literal["auto", "local", "ray", "dask", "job"]
Quantities = Annotated[dict[Annotated[str, StringConstraints(max_length=63)], Quantity], Field(max_length=16)]
Workers = Annotated[StrictInt, Field(ge=0, le=1000)]


class Resources(Spec):
    """Resources of a pod, as Kubernetes has them."""

    requests: Quantities = Field(default_factory=dict)
    """What is set aside, as `cpu: 500m` and `memory: 1Gi`."""
    limits: Quantities = Field(default_factory=dict)
    """What is never exceeded."""


class Compute(Spec):
    """Where models run."""

    engine: Engine = "auto"
    """`local` is in the process that has the datalayer; `ray` and `dask` are on the workers of such a cluster; `job`
    is in one pod of its own, and without a cluster the same as `local`. Left out (`auto`), a Datalayer runs models in
    a RayJob where KubeRay is installed, else in a job, and without a cluster in this process; a Model runs where its
    Datalayer says."""
    address: Address | None = None
    """Ray or dask cluster that is there already, as `scheduler:8786`; left out: one is started."""
    workers: Workers | None = None
    """Ray workers beside the head, each in its own pod; left out: none, the head alone. Without effect outside
    Kubernetes."""
    resources: Resources | None = None
    """Resources of each pod that models run in. Without effect outside Kubernetes."""
    image: Image | None = None
    """Image of the pods that models run in; left out: the operator's. Without effect outside Kubernetes."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "address_needs_engine_ray_or_dask",
            "address goes with engine ray and engine dask only",
            lambda spec: spec.address is None or spec.engine in ("ray", "dask"),
            cel="!has(self.address) || self.engine in ['ray', 'dask']",
        ),
        Rule(
            "workers_need_a_cluster_that_is_started",
            "workers goes with engine ray or auto, and not with address: a cluster that is there has its own workers",
            lambda spec: spec.workers is None or (spec.engine in ("auto", "ray") and spec.address is None),
            cel="!has(self.workers) || (self.engine in ['auto', 'ray'] && !has(self.address))",
        ),
        Rule(
            "local_has_no_pods",
            "resources and image do not go with engine local: it runs in the server, whose resources are spec.server's",
            lambda spec: spec.engine != "local" or (spec.resources is None and spec.image is None),
            cel="self.engine != 'local' || (!has(self.resources) && !has(self.image))",
        ),
    )

    @property
    def uri(self) -> str | None:
        """`local`, `ray`, `dask` or `dask://host:8786`, as Python has it; None for `auto`, and `local` for `job`."""
        if self.engine == "auto":
            return None
        engine = "local" if self.engine == "job" else self.engine
        return engine if self.address is None else f"{engine}://{self.address}"

    @property
    def cluster_only(self) -> tuple[str, ...]:
        """What is said here and has no effect outside Kubernetes, by the names that YAML has."""
        given = {"workers": self.workers, "resources": self.resources, "image": self.image}
        named = tuple(name for name, value in given.items() if value is not None)
        return ("engine job", *named) if self.engine == "job" else named
