"""What all components share: a type, a name, a spec and a digest of their content."""

from __future__ import annotations

import hashlib
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from superduper import code as _code

if TYPE_CHECKING:
    from pydantic import BaseModel

    from superduper.api.v1alpha1 import Code

Lookup = Callable[[str, str], "Component"]
"""Gives the component of a type and identifier, as it stands in the datalayer."""


class Component(ABC):
    """Something with a name that a datalayer keeps, in versions.

    ``spec()`` says all of it as plain data; ``from_spec`` makes it again. Two components with equal digests are
    the same version.
    """

    type_id: ClassVar[str]

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.uuid = str(uuid.uuid4())
        self.version: int | None = None
        self._payloads: dict[str, bytes] = {}
        self._codes: dict[str, tuple[Code, Any]] = {}

    @abstractmethod
    def spec(self) -> BaseModel:
        """The spec that says the same in YAML."""

    def children(self) -> list[Component]:
        """Components that must be known before this one."""
        return []

    def payloads(self) -> dict[str, bytes]:
        """Artifacts that the spec names (id → bytes) and that the datalayer has to store with it."""
        self.spec()
        return dict(self._payloads)

    def digest(self) -> str:
        """Hash of the spec, with code by what it does rather than by how it was pickled."""
        content = self.spec().model_dump(mode="json", by_alias=True, exclude_none=True)
        for field, (code, function) in sorted(self._codes.items()):
            content[f"code:{field}"] = _code.digest(code, function)
        for child in self.children():
            content[f"child:{child.type_id}:{child.identifier}"] = child.digest()
        text = json.dumps(_without_pickles(content), sort_keys=True, separators=(",", ":"))
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def _code(self, field: str, given: Any) -> Code:
        """The spec of a callable, or of a spec given as it is; remembered for ``payloads`` and ``digest``."""
        from superduper.api.v1alpha1 import Code

        if field not in self._codes:
            if isinstance(given, Code):
                self._codes[field] = (given, None)
            else:
                code, payloads = _code.dump(given)
                self._codes[field] = (code, given)
                self._payloads.update(payloads)
        return self._codes[field][0]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Component) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash((self.type_id, self.identifier))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.identifier!r})"


def _without_pickles(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_pickles(part) for key, part in value.items() if key != "pickle"}
    if isinstance(value, list):
        return [_without_pickles(part) for part in value]
    return value
