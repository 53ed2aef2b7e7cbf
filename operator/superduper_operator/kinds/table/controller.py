"""A Table: handed over to the datalayer's server, which does the rest."""

from __future__ import annotations

from superduper.api.v1alpha1 import Table
from superduper_operator.kinds.component import ComponentReconciler


class TableReconciler(ComponentReconciler[Table]):
    """One instance serves all Tables."""

    kind = "Table"
    type = Table
