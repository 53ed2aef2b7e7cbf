"""What the specs of all kinds share: names, references, code, and how a rule is declared."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

API_VERSION: Final = "superduper.io/v1alpha1"

IDENTIFIER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*$"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN_PATTERN = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"
FIELD_NAME_PATTERN = r"^[^$.\x00][^.\x00]*$"
ARTIFACT_PATTERN = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
DURATION_PATTERN = r"^[1-9][0-9]{0,5}[smhd]$"
DOTTED_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
ARGUMENT_PATTERN = r"^([0-9]|[1-9][0-9]|[A-Za-z_][A-Za-z0-9_]*)$"
URI_PATTERN = r"^[A-Za-z][A-Za-z0-9+.-]*:"
ADDRESS_PATTERN = r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$"
IMAGE_PATTERN = r"^[a-z0-9][A-Za-z0-9._:/@-]*$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"

OUTPUTS = "_outputs__"
"""A table whose name begins so holds the outputs of the model that the rest names."""

IN_WORDS = {
    IDENTIFIER_PATTERN: "letters, digits, _ and -, starting with a letter or _",
    NAME_PATTERN: "lower-case letters, digits and -, starting and ending with a letter or digit",
    SUBDOMAIN_PATTERN: "lower-case letters, digits, - and ., starting and ending with a letter or digit",
    KEY_PATTERN: "letters, digits, -, _ and .",
    FIELD_NAME_PATTERN: "without '.', and without '$' at the start",
    ARTIFACT_PATTERN: "40 or 64 lower-case hexadecimal digits",
    DURATION_PATTERN: "a number and one of s, m, h and d, as 15m",
    DOTTED_PATTERN: "a Python name, dotted where needed, as package.module",
    ARGUMENT_PATTERN: "the name of an argument, or its position from 0",
    URI_PATTERN: "a URI with its scheme, as sqlite://data.db",
    ADDRESS_PATTERN: "a host with its port, as scheduler:8786",
    IMAGE_PATTERN: "the name of an image, as registry.example/runtime:1.0",
    QUANTITY_PATTERN: "a quantity, as 500m or 10Gi",
}
"""What each pattern asks for, for messages and docs."""

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN, min_length=1, max_length=63)]
ObjectName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, min_length=1, max_length=63)]
SubdomainName = Annotated[str, StringConstraints(pattern=SUBDOMAIN_PATTERN, min_length=1, max_length=253)]
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN, min_length=1, max_length=253)]
FieldName = Annotated[str, StringConstraints(pattern=FIELD_NAME_PATTERN, min_length=1, max_length=63)]
TableName = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN, min_length=1, max_length=73)]
ArtifactId = Annotated[str, StringConstraints(pattern=ARTIFACT_PATTERN, max_length=64)]
Duration = Annotated[str, StringConstraints(pattern=DURATION_PATTERN, max_length=7)]
DottedName = Annotated[str, StringConstraints(pattern=DOTTED_PATTERN, max_length=253)]
ArgumentName = Annotated[str, StringConstraints(pattern=ARGUMENT_PATTERN, max_length=63)]
Uri = Annotated[str, StringConstraints(pattern=URI_PATTERN, max_length=2048)]
Address = Annotated[str, StringConstraints(pattern=ADDRESS_PATTERN, max_length=261)]
Image = Annotated[str, StringConstraints(pattern=IMAGE_PATTERN, max_length=512)]


def _as_text(value: object) -> object:
    return str(value) if type(value) is int else value


# Kubernetes takes `cpu: 2` as well as `cpu: "2"`.
Quantity = Annotated[
    str,
    BeforeValidator(_as_text),
    StringConstraints(pattern=QUANTITY_PATTERN, max_length=32),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "pattern": QUANTITY_PATTERN, "maxLength": 32},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
ShortText = Annotated[str, StringConstraints(max_length=253)]
FreeMap = Annotated[dict[ShortText, JsonValue], Field(max_length=64)]
FilterDocument = Annotated[dict[ShortText, JsonValue], Field(max_length=64)]
Count = Annotated[StrictInt, Field(ge=0)]

Batch = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
Flag = StrictBool

ScalarType = Literal["str", "int", "float", "bool", "bytes", "json", "datetime"]
DeletionPolicy = Literal["Retain", "Delete"]

RESERVED_FIELDS = ("_fold", "_schema", "_builds", "_files", "_blobs", "_id")
"""Names that superduper writes itself; no field of a user may have one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule across the fields of one spec. ``text`` is what must hold, and the message where it does not.

    ``cel`` says the same to the API server, where ``self`` is the spec under its YAML names and a field that has a
    default is there always. It is None only where a field has no type in a CRD; the twin stands in
    scripts/crds/admission.py then.
    """

    name: str
    text: str
    holds: Callable[[Any], bool]
    cel: str | None


def exactly_one_of(*fields: str) -> Callable[[Any], bool]:
    """A check that exactly one of these attributes is set."""
    return lambda spec: sum(getattr(spec, field) is not None for field in fields) == 1


def cel_exactly_one_of(*fields: str) -> str:
    """The same in CEL, of names as YAML has them."""
    return f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(given, given).size() == 1"


class Spec(BaseModel):
    """Base of all API types: frozen, unknown fields refused, camelCase in YAML and snake_case in Python."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def rules_hold(self) -> Self:
        """Raises the first rule that is broken; the error's type is the rule's name."""
        for rule in self.RULES:
            if not rule.holds(self):
                raise PydanticCustomError(rule.name, rule.text)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain YAML values under camelCase names; what is unset or left at its default is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class ObjectMeta(Spec):
    """Name and labels of an object."""

    name: ObjectName
    """Name of the object, unique per kind and namespace."""
    namespace: ObjectName | None = None
    """Namespace in a cluster; without a cluster it has no effect."""
    labels: Annotated[dict[ShortText, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Labels, as Kubernetes has them."""
    annotations: Annotated[
        dict[ShortText, Annotated[str, StringConstraints(max_length=262144)]], Field(max_length=64)
    ] = Field(default_factory=dict)
    """Annotations, as Kubernetes has them."""
    generation: Count | None = None
    """Number of the spec's version; written by the cluster or by the embedded apply, ignored when applied."""
    uid: ShortText | None = None
    """Written by the cluster, ignored when applied."""
    resource_version: ShortText | None = None
    """Written by the cluster, ignored when applied."""
    creation_timestamp: ShortText | None = None
    """Written by the cluster or by the embedded apply, ignored when applied."""


class DatalayerRef(Spec):
    """Names a Datalayer of the same namespace."""

    name: ObjectName
    """`metadata.name` of the Datalayer."""


class SecretKeyRef(Spec):
    """One key of a Secret of the same namespace."""

    name: SubdomainName
    """Name of the Secret."""
    key: Key
    """Key within the Secret."""


class ConfigMapKeyRef(Spec):
    """One key of a ConfigMap of the same namespace."""

    name: SubdomainName
    """Name of the ConfigMap."""
    key: Key
    """Key within the ConfigMap."""


class SecretRef(Spec):
    """A whole Secret of the same namespace."""

    name: SubdomainName
    """Name of the Secret."""


class UriFrom(Spec):
    """Where a URI that holds a password is kept."""

    secret_key_ref: SecretKeyRef
    """The Secret's key that holds the URI."""


class CredentialsFrom(Spec):
    """Where credentials are kept."""

    secret_ref: SecretRef
    """A Secret whose keys are environment variables, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""


class SourceFrom(Spec):
    """Where Python text is kept."""

    config_map_key_ref: ConfigMapKeyRef
    """The ConfigMap's key that holds the Python text; without a cluster, the file of the key's name beside the
    manifest, as kustomize's configMapGenerator would take it."""


class Code(Spec):
    """A Python callable: by import, as text, or pickled."""

    module: DottedName | None = None
    """Importable module that holds the callable, as `sklearn.svm`."""
    source: Annotated[str, StringConstraints(min_length=1, max_length=524288)] | None = None
    """Python text that defines the callable."""
    source_from: SourceFrom | None = None
    """Where the Python text is kept."""
    pickle: ArtifactId | None = None
    """Id of a cloudpickled callable in the artifact store; written by Python, not by hand."""
    callable: DottedName | None = None
    """Name of the callable within the module or text."""
    args: Annotated[tuple[JsonValue, ...], Field(max_length=64)] | None = None
    """Positional arguments: with args or kwargs the callable is called once, and its result is what is used."""
    kwargs: FreeMap | None = None
    """Keyword arguments: with args or kwargs the callable is called once, and its result is what is used."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "exactly_one_of_module_source_pickle",
            "exactly one of module, source, sourceFrom and pickle must be given",
            exactly_one_of("module", "source", "source_from", "pickle"),
            cel=cel_exactly_one_of("module", "source", "sourceFrom", "pickle"),
        ),
        Rule(
            "callable_named_unless_pickled",
            "callable is required with module, source and sourceFrom, and not allowed with pickle",
            lambda code: (code.callable is None) == (code.pickle is not None),
            cel="has(self.callable) != has(self.pickle)",
        ),
    )

    @property
    def is_called(self) -> bool:
        """Whether the callable is called once, with args and kwargs, to get what is used."""
        return self.args is not None or self.kwargs is not None


class FieldType(Spec):
    """What a value is: a plain type of the database, or a DataType."""

    type: ScalarType | None = None
    """Plain type of the value."""
    data_type: Identifier | None = None
    """Identifier of the DataType that encodes the value."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "exactly_one_of_type_or_data_type",
            "exactly one of type and dataType must be given",
            exactly_one_of("type", "data_type"),
            cel="has(self.type) != has(self.dataType)",
        ),
    )


Fields = Annotated[dict[FieldName, FieldType], Field(max_length=256)]


def no_reserved_field(spec: Any) -> bool:
    """Whether none of ``spec.fields`` has a name that superduper writes itself."""
    return not any(name in RESERVED_FIELDS for name in spec.fields)


NO_RESERVED_FIELD = Rule(
    "no_reserved_field",
    f"no field may be named {', '.join(RESERVED_FIELDS)}: superduper writes these",
    no_reserved_field,
    cel=f"!has(self.fields) || !self.fields.exists(name, name in {list(RESERVED_FIELDS)})",
)


class ComponentSpec(Spec):
    """What every spec inside a datalayer begins with."""

    datalayer_ref: DatalayerRef | None = None
    """The Datalayer that it belongs to; required in manifests, immutable."""
    identifier: Identifier | None = None
    """Name inside the datalayer, immutable; left out: `metadata.name`."""


def name_is_an_identifier(resource: Any) -> bool:
    """Whether the object has an identifier: one of its own, or a name that can serve as one."""
    return resource.spec.identifier is not None or re.match(IDENTIFIER_PATTERN, resource.metadata.name) is not None


COMPONENT_RULES = (
    Rule(
        "datalayer_is_named",
        "spec.datalayerRef is required: name the Datalayer that it belongs to",
        lambda resource: resource.spec.datalayer_ref is not None,
        cel="has(self.spec.datalayerRef)",
    ),
    Rule(
        "name_is_an_identifier",
        "spec.identifier is required where metadata.name does not start with a letter",
        name_is_an_identifier,
        cel=f"has(self.spec.identifier) || self.metadata.name.matches('{IDENTIFIER_PATTERN}')",
    ),
)
"""Rules of the objects DataType, Table and Model."""


class Resource(Spec):
    """An object of any kind, as Kubernetes has them."""

    api_version: Literal["superduper.io/v1alpha1"] = API_VERSION
    """Version of the API."""
    kind: ShortText
    """Kind of the object."""
    metadata: ObjectMeta
    """Name and labels."""

    def to_dict(self) -> dict[str, Any]:
        """As a manifest: apiVersion and kind first; what is unset or left at its default is left out."""
        return {"apiVersion": self.api_version, "kind": self.kind, **super().to_dict()}


class ComponentResource(Resource):
    """An object that is a component inside a datalayer."""

    spec: ComponentSpec
    """What is wanted."""

    RULES: ClassVar[tuple[Rule, ...]] = COMPONENT_RULES

    @property
    def identifier(self) -> str:
        """Name inside the datalayer."""
        return self.spec.identifier or self.metadata.name
