"""What can be imported, and from where."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import superduper


def test_the_public_names_are_sorted_and_exist() -> None:
    assert superduper.__all__ == sorted(superduper.__all__)
    assert len(set(superduper.__all__)) == len(superduper.__all__)
    for name in superduper.__all__:
        assert getattr(superduper, name) is not None
    assert set(superduper.__all__) <= set(dir(superduper))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Modle'"):
        superduper.Modle  # noqa: B018
    with pytest.raises(ImportError):
        from superduper import Modle  # noqa: F401


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("dataset", ["Dataset"]),
        ("datatype", ["DataType"]),
        ("listener", ["Listener"]),
        ("metric", ["Metric"]),
        ("model", ["Model", "ObjectModel"]),
        ("schema", ["Schema"]),
        ("table", ["Table"]),
    ],
)
def test_components_are_importable_from_their_own_modules(module: str, names: list[str]) -> None:
    found = importlib.import_module(f"superduper.components.{module}")
    for name in names:
        assert getattr(found, name) is getattr(superduper, name)


@pytest.mark.parametrize(
    "name",
    [
        "dask.compute.DaskComputeBackend",
        "local.compute.LocalComputeBackend",
        "mongodb.data_backend.MongoDataBackend",
        "mongodb.artifacts.MongoArtifactStore",
        "mongodb.metadata.MongoMetaDataStore",
    ],
)
def test_the_backends_that_are_printed_exist_under_their_names(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert getattr(importlib.import_module(f"superduper.backends.{module}"), attribute).__name__ == attribute


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import superduper, sys; "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'pydantic', 'sqlalchemy', 'pymongo', 'numpy', 'yaml'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_error_is_exported_drawn_and_one_of_ours() -> None:
    from superduper import errors

    assert errors.__all__ == sorted(errors.__all__)
    for name in errors.__all__:
        if name != "nearest":
            assert issubclass(getattr(errors, name), errors.SuperduperError)
            assert name in (errors.__doc__ or "")
