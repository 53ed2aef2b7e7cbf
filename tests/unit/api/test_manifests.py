"""Manifests: what is read, in which order, and what is said about mistakes."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest

from superduper.api.located import MAX_BYTES
from superduper.api.v1alpha1 import DataType, Model, Table
from superduper.errors import ManifestError
from superduper.manifests import Manifest, dump, load

HEAD = "apiVersion: superduper.io/v1alpha1\n"
DATALAYER = f"{HEAD}kind: Datalayer\nmetadata: {{name: d}}\nspec: {{databackend: {{uri: 'sqlite://x.db'}}}}\n"
DATATYPE = f"{HEAD}kind: DataType\nmetadata: {{name: image}}\nspec: {{datalayerRef: {{name: d}}, codec: image}}\n"
TABLE = f"""{HEAD}kind: Table
metadata:
  name: t
spec:
  datalayerRef: {{name: d}}
  fields:
    x:
      dataType: image
    y: {{type: int}}
"""


def model(name: str, table: str = "t", inputs: str = "[x]") -> str:
    return f"""{HEAD}kind: Model
metadata: {{name: {name}}}
spec:
  datalayerRef: {{name: d}}
  object: {{module: math, callable: sqrt}}
  predict:
    table: {table}
    inputs: {inputs}
"""


def text_of(*documents: str) -> str:
    return "---\n".join(documents)


def read(*documents: str) -> list[Manifest]:
    return load(["-"], stdin=io.StringIO(text_of(*documents)))


def problems(*documents: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(*documents)
    return str(caught.value).splitlines()


def names(manifests: list[Manifest]) -> list[str]:
    return [f"{m.object.kind}/{m.object.metadata.name}" for m in manifests]


def test_objects_come_in_the_order_in_which_they_are_applied() -> None:
    found = read(model("b", "_outputs__a"), model("a"), TABLE, DATATYPE, DATALAYER)
    assert names(found) == ["Datalayer/d", "DataType/image", "Table/t", "Model/a", "Model/b"]


def test_folders_are_read_at_any_depth_and_a_file_once(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b.yml").write_text(DATATYPE)
    (tmp_path / "a.yaml").write_text(text_of(DATALAYER, "# nothing here\n", TABLE))
    (tmp_path / "README.md").write_text("not: [read")
    found = load([tmp_path, tmp_path / "a.yaml"])
    assert names(found) == ["Datalayer/d", "DataType/image", "Table/t"]
    assert [(m.file, m.document, m.line) for m in found] == [
        (str(tmp_path / "a.yaml"), 1, 1),
        (str(tmp_path / "deep" / "er" / "b.yml"), 1, 1),
        (str(tmp_path / "a.yaml"), 3, 8),
    ]
    assert found[1].base == tmp_path / "deep" / "er"
    assert (found[0].text, found[2].text) == (DATALAYER, TABLE)
    assert found[2].problem(("spec", "fields", "x", "dataType"), "is odd") == (
        f"{tmp_path / 'a.yaml'}:16: spec.fields.x.dataType: is odd"
    )


def test_a_wrong_reference_is_told_with_file_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text_of(DATALAYER, DATATYPE, TABLE.replace("dataType: image", "dataType: imgae")))
    with pytest.raises(ManifestError) as caught:
        load([tmp_path / "x.yaml"])
    assert str(caught.value) == (
        f"{tmp_path}/x.yaml:19: spec.fields.x.dataType: no DataType 'imgae'; did you mean 'image'?"
    )


def test_all_problems_of_all_documents_are_told_at_once() -> None:
    table = TABLE.replace("y: {type: int}", "y: {typ: int}").replace("name: d", "name: dd")
    assert problems(DATALAYER.replace("uri", "url"), DATATYPE, table, model("m", "tt", "[z]"), model("t")) == [
        "<stdin>:4: spec.databackend.url: unknown field; did you mean 'uri'?",
        "<stdin>:20: spec.fields.y.typ: unknown field; did you mean 'type'?",
        "<stdin>:29: spec.predict.table: no Table 'tt'; did you mean 't'?",
    ]


@pytest.mark.parametrize(
    ("reason", "document", "expected"),
    [
        ("no kind", "a: 1\n", "<stdin>:1: kind: required: one of Datalayer, DataType, Table, Model"),
        (
            "a kind misspelt",
            TABLE.replace("Table", "Tabel"),
            "<stdin>:2: kind: unknown kind 'Tabel'; did you mean 'Table'?",
        ),
        (
            "a kind of others",
            "kind: Pod\napiVersion: v1\n",
            "<stdin>:1: kind: unknown kind 'Pod'; known: Datalayer, DataType, Table, Model",
        ),
        (
            "another version",
            TABLE.replace("v1alpha1", "v2"),
            "<stdin>:1: apiVersion: 'superduper.io/v2' is not known: write superduper.io/v1alpha1",
        ),
        ("a list", "- 1\n", "<stdin>:1: a manifest must be a map with apiVersion, kind, metadata and spec"),
        (
            "a key twice",
            "kind: Table\nkind: Model\nmetadata: {name: x}\n",
            "<stdin>:2: the key 'kind' stands twice, first on line 1",
        ),
        (
            "a Python object",
            "kind: !!python/name:os.system x\n",
            "<stdin>:1: the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed: write plain maps, lists and texts",
        ),
        (
            "a tag of one's own",
            "kind: !secret x\n",
            "<stdin>:1: the tag '!secret' is not allowed: write plain maps, lists and texts",
        ),
        (
            "a merge key",
            "a: &a {b: 1}\nc:\n  <<: *a\n",
            "<stdin>:3: merge keys (<<) are not allowed: write the fields out",
        ),
        ("a truth value as key", "yes: 1\n", "<stdin>:1: the key 'yes' is not a text: quote it"),
        ("a map as key", "{a: 1}: 1\n", "<stdin>:1: a key must be a text"),
        (
            "an anchor in itself",
            "a: &a [*a]\n",
            "<stdin>:1: more than 100,000 values or 64 levels, each use of an alias counted",
        ),
        (
            "a number that is none",
            "a: 0x_\n",
            "<stdin>:1: '0x_' cannot be read as int: invalid literal for int() with base 16: ''",
        ),
        (
            "a bracket left open",
            "a:\n  - [1\nb: 2\n",
            "<stdin>:3: not valid YAML: while parsing a flow sequence, did not find expected ',' or ']'",
        ),
        ("a thousand brackets", "a: " + "[" * 1000, "<stdin>:1: nested deeper than 64 levels"),
        (
            "a control character",
            "a: \x01\n",
            "<stdin>:1: not valid YAML: unacceptable character #x0001: control characters are not allowed",
        ),
    ],
)
def test_refuses_what_is_no_manifest(reason: str, document: str, expected: str) -> None:
    assert problems(document)[0] == expected, reason


def test_aliases_work_but_do_not_explode() -> None:
    shared = TABLE.replace("y: {type: int}", "y: &int {type: int}\n    z: *int")
    found = read(DATALAYER, DATATYPE, shared)[2].object
    assert isinstance(found, Table)
    assert found.spec.fields["z"].type == "int"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for before, name in zip("abcdef", "bcdefg", strict=True):
        bomb += f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    assert "more than 100,000 values" in problems(bomb)[0]


def test_a_huge_file_is_refused() -> None:
    assert problems("#" * (MAX_BYTES + 1)) == ["<stdin>:1: the file is longer than 8 MiB"]


def test_dates_are_texts_and_positions_are_keys() -> None:
    found = read(
        DATALAYER, DATATYPE, TABLE, model("m", inputs="{0: x, other: y}").replace("math,", "math, args: [2024-01-01],")
    )
    last = found[-1].object
    assert isinstance(last, Model)
    assert last.spec.object is not None
    assert last.spec.object.args == ("2024-01-01",)
    assert last.spec.predict is not None
    assert last.spec.predict.call == (("x",), {"other": "y"})


def test_one_name_is_given_once() -> None:
    assert problems(DATALAYER, DATATYPE, DATATYPE) == [
        "<stdin>:13: metadata.name: DataType 'image' is defined already, at <stdin>:6"
    ]
    other = DATATYPE.replace("name: image}", "name: img}").replace("codec", "identifier: image, codec")
    assert problems(DATALAYER, DATATYPE, other) == [
        "<stdin>:14: spec.identifier: DataType 'image' is defined already, at <stdin>:6"
    ]


def test_references_reach_what_is_known_already() -> None:
    text = io.StringIO(text_of(TABLE, model("m", "_outputs__old")))
    found = load(["-"], known={"Datalayer": ["d"], "DataType": ["image"], "Model": ["old"]}, stdin=text)
    assert names(found) == ["Table/t", "Model/m"]


def test_references_are_identifiers_within_one_datalayer() -> None:
    named = DATATYPE.replace("name: image}", "name: img}").replace("codec", "identifier: image, codec")
    assert len(read(DATALAYER, named, TABLE)) == 3
    second = DATALAYER.replace("name: d}", "name: e}")
    elsewhere = DATATYPE.replace("{name: d}", "{name: e}")
    assert problems(DATALAYER, second, elsewhere, TABLE) == [
        "<stdin>:24: spec.fields.x.dataType: DataType 'image' belongs to another Datalayer, 'e'"
    ]


def test_inputs_and_targets_must_be_fields_of_their_table() -> None:
    wrong = model("m", inputs="[x, xx]") + "  validation: {table: t, target: yy, metrics: [f1]}\n"
    assert problems(DATALAYER, DATATYPE, TABLE, wrong) == [
        "<stdin>:30: spec.predict.inputs[1]: no field 'xx' in Table 't'; did you mean 'x'?",
        "<stdin>:31: spec.validation.target: no field 'yy' in Table 't'; did you mean 'y'?",
    ]
    assert len(read(DATALAYER, DATATYPE, TABLE, model("m", inputs="[id, _fold]"))) == 4


def test_models_that_read_each_others_outputs_are_refused() -> None:
    assert problems(DATALAYER, model("a", "_outputs__b"), model("b", "_outputs__a")) == [
        "the models' tables form a circle: each reads the outputs of the next"
    ]


def test_missing_paths_and_empty_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError) as caught:
        load([tmp_path / "none.yaml", tmp_path / "empty", tmp_path / "latin.yaml"])
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory",
        f"{tmp_path}/empty: no *.yaml or *.yml in this folder",
        f"{tmp_path}/latin.yaml: cannot be read: not UTF-8 text",
    ]


FROM_MAP = """\
apiVersion: superduper.io/v1alpha1
kind: Model
metadata: {name: m}
spec:
  datalayerRef: {name: d}
  object:
    sourceFrom: {configMapKeyRef: {name: code, key: model.py}}
    callable: f
    kwargs: {n: 1}
  validation:
    table: t
    inputs: [x]
    target: y
    metrics:
      - f1
      - name: own
        object: {sourceFrom: {configMapKeyRef: {name: code, key: metric.py}}, callable: g}
"""


def test_code_is_taken_from_a_config_map_or_from_the_file_beside(tmp_path: Path) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: code}\ndata:\n  model.py: |\n    def f(): ...\n"
    (tmp_path / "x.yaml").write_text(text_of(DATALAYER, DATATYPE, TABLE, config, FROM_MAP))
    (tmp_path / "metric.py").write_text("def g(): ...\n")
    found = load([tmp_path])[-1].inlined()
    assert isinstance(found, Model)
    assert found.spec.object is not None
    assert found.spec.object.to_dict() == {"source": "def f(): ...\n", "callable": "f", "kwargs": {"n": 1}}
    assert found.spec.validation is not None
    metric = found.spec.validation.metrics[1]
    assert not isinstance(metric, str)
    assert metric.object.source == "def g(): ...\n"


def test_code_that_is_nowhere_is_a_problem_of_its_field(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text_of(DATALAYER, DATATYPE, TABLE, FROM_MAP))
    (tmp_path / "metric.py").write_text("")
    with pytest.raises(ManifestError) as caught:
        load([tmp_path])
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        f"{tmp_path}/x.yaml:27: spec.object: no ConfigMap 'code' with key 'model.py' among the manifests"
    )
    assert second.startswith(f"{tmp_path}/x.yaml:38: spec.validation.metrics[1].object: metric.py: ")


def test_secrets_are_read_among_the_manifests() -> None:
    encoded = base64.b64encode(b"postgresql://h").decode()
    secret = (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{uri: {encoded}}}\nstringData: {{b: plain}}\n"
    )
    datalayer = DATALAYER.replace("uri: 'sqlite://x.db'", "uriFrom: {secretKeyRef: {name: s, key: uri}}")
    [found] = read(secret, datalayer)
    ref = found.object.spec.databackend.uri_from.secret_key_ref  # type: ignore[union-attr]
    assert found.secret(ref) == "postgresql://h"
    assert "postgresql://h" not in repr(found)
    assert found.secret(ref.model_copy(update={"key": "b"})) == "plain"
    with pytest.raises(ManifestError, match="no Secret 's' with key 'c' among the manifests: add it"):
        found.secret(ref.model_copy(update={"key": "c"}))
    assert problems(secret.replace(encoded, "'%%'")) == [
        "<stdin>:4: data.uri: must be text in base64; stringData takes plain text"
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("file://./data", "file:///b/data"),
        ("file://data", "file:///b/data"),
        ("file://../data", "file:///data"),
        ("file:///data", "file:///data"),
        ("filesystem://./a", "filesystem:///b/a"),
        ("sqlite://x.db", "sqlite:////b/x.db"),
        ("sqlite:///x.db", "sqlite:////b/x.db"),
        ("sqlite:////x.db", "sqlite:////x.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite://:memory:", "sqlite://:memory:"),
        ("s3://bucket/x", "s3://bucket/x"),
        ("mongomock://db", "mongomock://db"),
    ],
)
def test_relative_paths_in_uris_lie_beside_the_manifest(given: str, expected: str) -> None:
    [found] = read(DATALAYER)
    base = Manifest(found.object, "", 1, 1, {}, "", Path("/b"))
    assert base.resolve(given) == expected


def test_what_is_dumped_is_read_back() -> None:
    source = "def f(x):\n    return x  # größer: 'a' \"b\"\n"
    data_type = DataType.model_validate(
        {
            "metadata": {"name": "a", "labels": {"on": "yes"}},
            "spec": {
                "datalayerRef": {"name": "d"},
                "encoder": {"source": source, "callable": "f", "args": ["1", 1, None, "2024-01-01", "no"]},
                "info": {"when": "12:30", "n": 1.5, "list": [[1], {"a": []}]},
            },
        }
    )
    text = dump(data_type)
    assert "    source: |\n      def f(x):\n          return x  # größer: 'a' \"b\"\n" in text
    assert read(DATALAYER, text)[1].object == data_type
    for manifest in read(DATALAYER, DATATYPE, TABLE, model("m")):
        again = load(
            ["-"],
            known={"Datalayer": ["d"], "DataType": ["image"], "Table": ["t"]},
            stdin=io.StringIO(dump(manifest.object)),
        )
        assert again[0].object == manifest.object
