"""What all components share: a type, a name, a spec and a digest of their content."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from superduper import code as _code
from superduper.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from pydantic import BaseModel

    from superduper.api.v1alpha1 import Code

Lookup = Callable[[str, str], "Component"]
"""Gives the component of a type and identifier, as it stands in the datalayer."""


def alone(type_id: str, identifier: str) -> Component:
    """The lookup of a spec that stands by itself. Raises NotFound: what it names is in a datalayer."""
    raise NotFound(f"the spec names the {type_id} {identifier!r}, which is in a datalayer; give lookup=db.load")


class Component(ABC):
    """Something with a name that a datalayer keeps, in versions.

    ``spec()`` says all of it as plain data; ``from_spec`` makes it again. Two components with equal digests are
    the same version.
    """

    type_id: ClassVar[str]

    def __init__(self, identifier: str) -> None:
        check_identifier(type(self).__name__, identifier)
        self.identifier = identifier
        self.uuid = str(uuid.uuid4())
        self.version: int | None = None
        self._payloads: dict[str, bytes] = {}
        self._fetch: _code.Fetch | None = None
        self._codes: dict[str, tuple[Code, Any]] = {}
        self._recorded: tuple[dict[str, Any], str] | None = None

    @abstractmethod
    def spec(self) -> BaseModel:
        """The spec that says the same in YAML."""

    def children(self) -> list[Component]:
        """Components that must be known before this one."""
        return []

    def payloads(self) -> dict[str, bytes]:
        """Artifacts that the spec names (id → bytes) and that the datalayer has to store with it."""
        self._checked_spec()
        found = dict(self._payloads)
        for code, given in self._codes.values():
            # Made from a record whose code is pickled: a new version of it needs the same bytes.
            if given is code and code.pickle is not None and self._fetch is not None:
                found[code.pickle] = self._fetch(code.pickle)
        return found

    def digest(self) -> str:
        """Hash of the spec, with code by what it does rather than by how it was pickled."""
        content = self._plain_spec()
        if self._recorded is not None and self._recorded[0] == content:
            return self._recorded[1]
        return self._hash(content)

    def recorded(self, digest: str) -> None:
        """Made from a record of that digest: it holds while the spec stays as it is.

        Code that was pickled cannot be digested again: its source is gone.
        """
        self._recorded = (self._plain_spec(), digest)

    def _checked_spec(self) -> BaseModel:
        from pydantic import ValidationError

        try:
            return self.spec()
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, found['loc']))}: {found['msg']}, not {found['input']!r:.60}"
                for found in error.errors(include_url=False)
            )
            raise ConfigError(f"{type(self).__name__} {self.identifier!r}: {'; '.join(problems)}") from error

    def _plain_spec(self) -> dict[str, Any]:
        return self._checked_spec().model_dump(mode="json", by_alias=True, exclude_none=True)

    def _hash(self, content: Mapping[str, Any], codes: Collection[str] | None = None) -> str:
        """Hash of parts of the spec with the code in them: of all codes and the children, or of these codes alone."""
        parts = dict(content)
        for field, (code, given) in sorted(self._codes.items()):
            if codes is None or field in codes:
                parts[f"code:{field}"] = _code.digest(code, given)
        for child in self.children() if codes is None else ():
            parts[f"child:{child.type_id}:{child.identifier}"] = child.digest()
        text = json.dumps(_without_pickles(parts), sort_keys=True, separators=(",", ":"))
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def _code(self, field: str, given: Any) -> Code:
        """The spec of a callable, or of a spec given as it is; remembered for ``payloads`` and ``digest``."""
        from superduper.api.v1alpha1 import Code

        known = self._codes.get(field)
        if known is None or known[1] is not given:
            code, payloads = (given, {}) if isinstance(given, Code) else _code.dump(given)
            self._codes[field] = known = (code, given)
            self._payloads.update(payloads)
        return known[0]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Component) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash((self.type_id, self.identifier))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.identifier!r})"


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


def check_identifier(kind: str, identifier: object) -> None:
    """Raises ConfigError for what cannot be the name of a component."""
    if not isinstance(identifier, str) or not _IDENTIFIER.fullmatch(identifier):
        raise ConfigError(
            f"{kind} {identifier!r}: a name is 1 to 63 letters, digits, '_' and '-', and begins with a letter or '_'"
        )


def _without_pickles(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_pickles(part) for key, part in value.items() if key != "pickle"}
    if isinstance(value, list):
        return [_without_pickles(part) for part in value]
    return value
