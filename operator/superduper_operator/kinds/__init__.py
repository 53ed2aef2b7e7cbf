"""One folder for each kind: ``desired`` and ``status`` are pure, ``controller`` reads top-down."""

from __future__ import annotations

from superduper_operator.core.reconciler import Reconciler
from superduper_operator.kinds.datalayer.controller import DatalayerReconciler
from superduper_operator.kinds.datatype.controller import DataTypeReconciler
from superduper_operator.kinds.model.controller import ModelReconciler
from superduper_operator.kinds.revisions import Revisions
from superduper_operator.kinds.table.controller import TableReconciler


def reconcilers() -> tuple[Reconciler, ...]:
    """One of each kind."""
    revisions = Revisions()
    kinds = (DatalayerReconciler, DataTypeReconciler, TableReconciler, ModelReconciler)
    return tuple(kind(revisions) for kind in kinds)
