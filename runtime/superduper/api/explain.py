"""What is wrong with a spec, in words: pydantic's errors with field paths, remedies and the nearest right name."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from superduper.api.located import Path
from superduper.api.v1alpha1.common import IN_WORDS, URI_PATTERN
from superduper.errors import ManifestError, nearest

M = TypeVar("M", bound=BaseModel)

_EXPECTED = {
    "string_type": "must be a text: quote it",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be a map",
    "model_type": "must be a map",
    "model_attributes_type": "must be a map",
    "tuple_type": "must be a list",
    "string_too_short": "must not be empty",
}


def checked(model: type[M], data: Any, *, where: str = "") -> M:
    """The spec that ``data`` (camelCase, as in YAML) describes.

    Raises ManifestError with one line per problem, each starting with ``where`` and the field path.
    """
    try:
        return model.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        lines = [": ".join(filter(None, (where, dotted(path), text))) for path, text in explain(error, model, data)]
        raise ManifestError("\n".join(lines)) from error


def dotted(path: Path) -> str:
    """A path as people write it: ``spec.validation.metrics[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> Iterator[tuple[Path, str]]:
    """Path and message of each problem, in the order of the fields, each path and message once."""
    seen = set()
    for detail in error.errors(include_url=False):
        problem = (_path(detail["loc"], data), _message(detail, model))
        if problem not in seen:
            seen.add(problem)
            yield problem


def _path(loc: Path, data: Any) -> Path:
    """Pydantic's location without what stands for the arm of a union, or for a key."""
    path: list[str | int] = []
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(data, dict) and (part in data or last) and part != "[key]":
            path.append(part)
            data = data.get(part)
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            path.append(part)
            data = data[part]
    return tuple(path)


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "required"
    if kind == "extra_forbidden":
        return _unknown_field(detail["loc"], model)
    if kind == "literal_error":
        allowed = _literals(context["expected"])
        return f"{_shown(value)} is not one of {', '.join(allowed)}{nearest(str(value), allowed)}"
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        shown = "" if pattern == URI_PATTERN else f"{_shown(value)} is not allowed: "
        return f"{shown}must be {IN_WORDS.get(pattern, pattern)}"
    if kind in _EXPECTED:
        return f"{_EXPECTED[kind]}, not {_shown(value)}"
    if kind in ("string_too_long", "too_long", "too_short"):
        return _bound(kind, context)
    text = detail["msg"]
    return f"must be {text.removeprefix('Input should be ')}" if text.startswith("Input should be ") else text


def _bound(kind: str, context: dict[str, Any]) -> str:
    if kind == "string_too_long":
        return f"is longer than {context['max_length']} characters"
    if kind == "too_long":
        return f"has more than {context['max_length']} entries"
    return f"needs at least {context['min_length']} entries"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    text = (
        {None: "null", True: "true", False: "false"}.get(value)
        if value is None or value is True or value is False
        else None
    )
    text = text or repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _literals(expected: str) -> list[str]:
    """The words in pydantic's ``'a', 'b' or 'c'``."""
    return [word.strip().strip("'") for word in expected.replace(" or ", ",").split(",")]


def _unknown_field(loc: Path, model: type[BaseModel]) -> str:
    annotations: list[Any] = [model]
    for part in loc[:-1]:
        annotations = [after for annotation in annotations for after in _step(annotation, part)] or annotations
    known = [field.alias or name for found in annotations for name, field in found.model_fields.items()]
    guess = nearest(str(loc[-1]), known)
    return f"unknown field{guess or '; known here: ' + ', '.join(known)}"


def _flat(annotation: Any) -> Iterator[Any]:
    """The arms of a union, and what is annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _flat(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for arm in get_args(annotation):
            yield from _flat(arm)
    else:
        yield annotation


def _step(annotation: Any, part: str | int) -> Iterator[Any]:
    """The models that the location's next part may lead to; none where it is no step, as a union's tag."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return
    for name, field in annotation.model_fields.items():
        if part in (field.alias, name):
            for arm in _flat(field.annotation):
                inner = get_args(arm)[-1 if get_origin(arm) is dict else 0] if get_origin(arm) in (dict, tuple) else arm
                yield from (found for found in _flat(inner) if isinstance(found, type) and issubclass(found, BaseModel))
