"""Superduper: large and odd data beside your database; encoded, stored, queried and predicted.

    from superduper import DataType, Document, Schema, Table, superduper

    db = superduper('sqlite://my.db')
    db.apply(Table('docs', fields={'x': DataType('any', codec='pickle')}))
    db['docs'].insert_one({'x': object}).execute()

Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superduper.components.dataset import Dataset
    from superduper.components.datatype import DataType
    from superduper.components.listener import Listener
    from superduper.components.metric import Metric
    from superduper.components.model import Model, ObjectModel
    from superduper.components.schema import Schema
    from superduper.components.table import Table
    from superduper.config import CFG
    from superduper.datalayer import Datalayer, superduper
    from superduper.document import Document
    from superduper.errors import SuperduperError

__version__ = "0.1.0"

_FROM = {
    "CFG": "config",
    "DataType": "components.datatype",
    "Datalayer": "datalayer",
    "Dataset": "components.dataset",
    "Document": "document",
    "Listener": "components.listener",
    "Metric": "components.metric",
    "Model": "components.model",
    "ObjectModel": "components.model",
    "Schema": "components.schema",
    "SuperduperError": "errors",
    "Table": "components.table",
    "superduper": "datalayer",
}

__all__ = [
    "CFG",
    "DataType",
    "Datalayer",
    "Dataset",
    "Document",
    "Listener",
    "Metric",
    "Model",
    "ObjectModel",
    "Schema",
    "SuperduperError",
    "Table",
    "__version__",
    "superduper",
]


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'superduper' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"superduper.{_FROM[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
