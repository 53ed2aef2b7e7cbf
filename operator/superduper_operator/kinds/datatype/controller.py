"""A DataType: handed over to the datalayer's server, which does the rest."""

from __future__ import annotations

from superduper.api.v1alpha1 import DataType
from superduper_operator.kinds.component import ComponentReconciler


class DataTypeReconciler(ComponentReconciler[DataType]):
    """One instance serves all DataTypes."""

    kind = "DataType"
    type = DataType
