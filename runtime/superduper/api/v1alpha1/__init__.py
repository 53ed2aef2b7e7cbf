"""The API types of ``superduper.io/v1alpha1``: Datalayer, DataType, Table and Model."""

from __future__ import annotations

from typing import TypeAlias

from superduper.api.v1alpha1.common import API_VERSION, Code, FieldType, ObjectMeta, Rule, Spec
from superduper.api.v1alpha1.components import DatasetSpec, ListenerSpec, MetricSpec, SchemaSpec
from superduper.api.v1alpha1.conditions import Condition, Reason, Status, conditions
from superduper.api.v1alpha1.datalayer import Datalayer, DatalayerSpec, DatalayerStatus
from superduper.api.v1alpha1.datatype import DataType, DataTypeSpec, DataTypeStatus
from superduper.api.v1alpha1.model import Inputs, Model, ModelSpec, ModelStatus, parse_inputs
from superduper.api.v1alpha1.table import Table, TableSpec, TableStatus

Object: TypeAlias = Datalayer | DataType | Table | Model
"""An object of any kind."""

KINDS: dict[str, type[Datalayer | DataType | Table | Model]] = {
    "Datalayer": Datalayer,
    "DataType": DataType,
    "Table": Table,
    "Model": Model,
}
"""Every kind, in the order in which they are applied."""

__all__ = [
    "API_VERSION",
    "KINDS",
    "Code",
    "Condition",
    "DataType",
    "DataTypeSpec",
    "DataTypeStatus",
    "Datalayer",
    "DatalayerSpec",
    "DatalayerStatus",
    "DatasetSpec",
    "FieldType",
    "Inputs",
    "ListenerSpec",
    "MetricSpec",
    "Model",
    "ModelSpec",
    "ModelStatus",
    "Object",
    "ObjectMeta",
    "Reason",
    "Rule",
    "SchemaSpec",
    "Spec",
    "Status",
    "Table",
    "TableSpec",
    "TableStatus",
    "conditions",
    "parse_inputs",
]
