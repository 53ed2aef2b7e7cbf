"""Components and their specs say the same: what Python makes, YAML can say, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from superduper import Dataset, DataType, Document, Listener, Metric, Model, ObjectModel, Schema, Table
from superduper.api import v1alpha1 as api
from superduper.api.v1alpha1 import Code
from superduper.api.v1alpha1.model import Predict, Training, Validation
from superduper.components.component import Component
from superduper.components.listener import inputs_of
from superduper.components.schema import infer
from superduper.errors import ConfigError, ModelError

IMAGE = DataType("image", codec="image", encodable="lazy_artifact")
SOURCE = Code(source="def f(x, info=None):\n    return x", callable="f")
MODEL = Model(
    "m",
    object=Code(source="def f(x):\n    return x", callable="f"),
    predict=Predict(table="t", inputs=("x",), output={"type": "int"}, filter={"x": {"$gt": 3}}, batched=True),
    validation=Validation(table="t", target="y", metrics=("mse",)),
    deletion_policy="Delete",
)
COMPONENTS: list[Component] = [
    DataType("pickled", codec="pickle", encodable="artifact"),
    DataType("own", encoder=SOURCE, decoder=SOURCE, encodable="lazy_artifact", info={"a": 1}, media_type="x/y"),
    DataType("text", codec="text"),
    DataType("inline", codec="bytes", encodable="encodable", bytes_encoding="Str", shape=(3, 4)),
    DataType("path", encodable="lazy_file"),
    IMAGE,
    Schema("s", {"x": "int", "i": IMAGE}),
    Table("t", Schema("s", {"x": "int", "i": IMAGE}), primary_id="key", deletion_policy="Delete"),
    Table("t", fields={"x": "float", "id": "int"}),
    MODEL,
    Model("trained", training=Training(object=SOURCE, table="t", inputs=("x",), target="y"), suspend=True),
    ObjectModel("listed", object=SOURCE, compute="local"),
    ObjectModel("elsewhere", object=SOURCE, compute={"engine": "ray", "workers": 2, "image": "own:1"}),
    ObjectModel("apart", object=SOURCE, compute="ray://head:10001"),
    Listener(MODEL, identifier="l", predict=MODEL.predict_spec),
    Metric("close", Code(source="def f(t, p):\n    return 1.0", callable="f")),
    Dataset("d", table="t", filter={"x": 1}),
]


def lookup(type_id: str, identifier: str) -> Component:
    return {("datatype", "image"): IMAGE, ("model", "m"): MODEL}[type_id, identifier]


def again(component: Component, spec: Any) -> Component:
    cls: Any = type(component)
    match component:
        case Schema() | Table() | Model():
            return cls.from_spec(spec, lookup=lookup)  # type: ignore[no-any-return]
        case Listener():
            return Listener.from_spec(spec, model=MODEL, lookup=lookup)
        case _:
            return cls.from_spec(spec)  # type: ignore[no-any-return]


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: f"{c.type_id}-{c.identifier}")
def test_a_component_made_of_its_spec_is_equal(component: Component) -> None:
    spec = component.spec()
    made = again(component, spec)
    assert made.spec() == spec
    assert made.digest() == component.digest()
    assert made == component
    assert hash(made) == hash(component)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: f"{c.type_id}-{c.identifier}")
def test_a_spec_survives_the_way_through_yaml(component: Component) -> None:
    import yaml

    spec = component.spec()
    text = yaml.safe_dump(spec.model_dump(mode="json", by_alias=True, exclude_none=True))
    read = type(spec).model_validate(yaml.safe_load(text))
    assert read == spec
    assert again(component, read).digest() == component.digest()


def test_yaml_and_python_say_the_same() -> None:
    yaml_spec = api.DataTypeSpec.model_validate({"identifier": "pickled", "codec": "pickle"})
    assert DataType.from_spec(yaml_spec) == DataType("pickled", codec="pickle")
    table = api.TableSpec.model_validate(
        {"identifier": "t", "fields": {"x": {"type": "int"}, "i": {"dataType": "image"}}}
    )
    assert Table.from_spec(table, lookup=lookup) == Table("t", fields={"x": "int", "i": IMAGE})


@pytest.mark.parametrize(
    "other",
    [
        DataType("x", codec="json", encodable="artifact"),
        DataType("y", codec="pickle", encodable="artifact"),
        DataType("x", codec="pickle", encodable="lazy_artifact"),
        DataType("x", codec="pickle", encodable="artifact", info={"a": 1}),
        DataType("x", encoder=SOURCE, encodable="artifact"),
    ],
)
def test_what_differs_has_another_digest(other: DataType) -> None:
    assert DataType("x", codec="pickle", encodable="artifact") != other


def test_a_change_of_a_child_is_a_change_of_the_parent() -> None:
    def table(codec: str) -> Table:
        return Table("t", fields={"x": DataType("d", codec=codec, encodable="artifact")})

    assert table("pickle").digest() == table("pickle").digest()
    assert table("pickle").digest() != table("json").digest()


@pytest.mark.parametrize(
    ("encoder", "takes_info"),
    [
        (lambda x: x, False),
        (lambda x, info: x, True),
        (lambda x, info=None: x, True),
        (lambda x, other: x, True),
        (lambda x, factor=2: x, False),
    ],
    ids=["x", "x, info", "x, info=None", "x, other", "x, factor=2"],
)
def test_coders_are_called_as_they_accept(encoder: Callable[..., Any], takes_info: bool) -> None:
    seen: list[Any] = []

    def noted(*args: Any) -> bytes:
        seen.append(args)
        return b""

    import inspect

    noted.__signature__ = inspect.signature(encoder)  # type: ignore[attr-defined]
    DataType("d", encoder=noted, info={"a": 1}, encodable="artifact").encode(5)
    assert seen == [(5, {"a": 1}) if takes_info else (5,)]


@pytest.mark.parametrize(
    ("key", "args", "kwargs"),
    [
        ("x", ("x",), {}),
        (("x", "y"), ("x", "y"), {}),
        ({"a": "x"}, (), {"a": "x"}),
        ((("x",), {"y": "z"}), ("x",), {"y": "z"}),
    ],
)
def test_the_four_forms_of_a_key(key: Any, args: tuple[str, ...], kwargs: dict[str, str]) -> None:
    found = inputs_of(key)
    assert (tuple(found.args), dict(found.kwargs)) == (args, kwargs)


@pytest.mark.parametrize("key", [5, (), [1], None, ("x", 5)])
def test_any_other_form_is_refused(key: Any) -> None:
    with pytest.raises(ConfigError, match="is none of"):
        inputs_of(key)


def test_a_schema_is_inferred_that_all_rows_fit() -> None:
    import numpy as np

    rows = [
        {"id": "a", "n": 1, "f": 1, "o": {1}, "j": {"a": [1]}, "v": None},
        {"id": "b", "f": 1.5, "a": np.zeros(3), "j": [1]},
    ]
    fields = infer("s", rows, "id").fields
    plain = {name: kind for name, kind in fields.items() if isinstance(kind, str)}
    assert plain == {"id": "str", "n": "int", "f": "float", "j": "json"}
    assert {name: kind.codec for name, kind in fields.items() if isinstance(kind, DataType)} == {
        "o": "pickle",
        "a": "numpy",
    }
    with pytest.raises(ConfigError, match="primary key"):
        infer("s", [{"id": object()}], "id")


def test_a_model_predicts_one_row_and_many() -> None:
    single, batched = (
        ObjectModel("m", object=lambda x, y=0: x + y),
        Model("b", object=lambda xs: [x + 1 for x in xs], batched=True),
    )
    assert single.predict(1, y=2) == 3
    assert single.predict_batches([1, (2, 3)]) == [1, 5]
    assert batched.predict(1) == 2
    assert batched.predict_batches([1, 2]) == [2, 3]
    assert batched.predict_batches([]) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param((0,), "model 'm': ZeroDivisionError: .* \\(line [0-9]+ of inverse\\)", id="the code raises"),
        pytest.param((1, 2), "model 'm': TypeError: .*it takes \\(x\\)", id="too many arguments"),
        pytest.param((), "model 'm': TypeError: .*it takes \\(x\\)", id="too few arguments"),
    ],
)
def test_what_a_model_raises_is_its_own_error_with_the_line(args: tuple[int, ...], words: str) -> None:
    def inverse(x: int) -> float:
        return 1 / x

    with pytest.raises(ModelError, match=words) as caught:
        Model("m", object=inverse).predict(*args)
    assert caught.value.__cause__ is not None


def test_of_many_rows_the_one_that_fails_is_named() -> None:
    with pytest.raises(ModelError, match="model 'm', row 2: ZeroDivisionError"):
        Model("m", object=lambda x: 1 / x).predict_batches([1, 2, 0])
    with pytest.raises(ModelError, match="gave 1 outputs for 2 rows"):
        Model("m", object=lambda xs: xs[:1], batched=True).predict_batches([1, 2])
    with pytest.raises(ModelError, match="gave a int; batched, it must return a list"):
        Model("m", object=len, batched=True).predict(1)


def test_a_declared_output_is_the_same_in_model_and_predict() -> None:
    model = Model("m", object=SOURCE, datatype="int", predict=Predict(table="t", inputs=("x",)))
    assert model.spec().predict.output.type == "int"  # type: ignore[union-attr]
    assert (
        Model("m", object=SOURCE, predict=Predict(table="t", inputs=("x",), output={"type": "int"})).datatype == "int"
    )
    with pytest.raises(ConfigError, match="datatype="):
        Model("m", object=SOURCE, predict=Predict(table="t", inputs=("x",), output={"dataType": "image"}))
    batched = Model("m", object=SOURCE, batched=True, predict=Predict(table="t", inputs=("x",)))
    assert batched.spec().predict.batched  # type: ignore[union-attr]


def test_a_document_unpacks_what_it_holds() -> None:
    document = Document({"a": 1, "b": {"c": [1, {"d": 2}]}})
    assert document.unpack() == {"a": 1, "b": {"c": [1, {"d": 2}]}}
    assert type(document.unpack()) is dict
    assert document.unpack(None) == document.unpack()
    assert repr(document) == "Document({'a': 1, 'b': {'c': [1, {'d': 2}]}})"


@pytest.mark.parametrize("name", ["a b", "", "a.b", "9", "é", "x" * 64, 1, None])
@pytest.mark.parametrize("kind", [Table, DataType, lambda name: Schema(name, {})], ids=["Table", "DataType", "Schema"])
def test_what_cannot_be_a_name_is_refused_when_the_component_is_made(kind: Any, name: Any) -> None:
    with pytest.raises(ConfigError, match=r"(Table|DataType|Schema) .*: a name is 1 to 63 letters"):
        kind(name)


@pytest.mark.parametrize("name", ["_superduper_meta", "_outputs__m", "_SUPERDUPER_meta"])
def test_names_of_own_tables_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="names that begin with _superduper_ or _outputs__ are superduper's own"):
        Table(name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataType("d", info={"x": object()}).digest(), r"DataType 'd': info\.x: .*JSON"),
        (lambda: DataType("d", shape=(-1,)).digest(), r"DataType 'd': shape\.0: .*greater.*, not -1"),
        (lambda: Table("t", deletion_policy="No").payloads(), "Table 't': deletion"),  # type: ignore[arg-type]
        (lambda: Table("t", primary_id="_id"), "Table 't': the primary key cannot be '_id'"),
        (lambda: Schema("s", {1: "int"}), "Schema 's': a field cannot be named 1"),  # type: ignore[dict-item]
    ],
)
def test_a_value_that_no_spec_can_hold_is_an_error_of_ours(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
