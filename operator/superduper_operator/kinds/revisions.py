"""Which answer of its server each component was last told of; lost at a restart, which costs one question per object."""

from __future__ import annotations

from collections.abc import Mapping


class Revisions:
    """Shared by all kinds: components note what they were answered, Datalayers find who is to look again."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[str, str]] = {}

    def saw(self, namespace: str, datalayer: str, path: str, revision: str) -> None:
        """That object, as ``Kind/name``, was answered with that revision."""
        self._seen.setdefault((namespace, datalayer), {})[path] = revision

    def current(self, namespace: str, datalayer: str, path: str, revisions: Mapping[str, str]) -> bool:
        """Whether the object knows the answer that the server would give it now."""
        known = self._seen.get((namespace, datalayer), {}).get(path)
        return known is not None and known == revisions.get(path)

    def forget(self, namespace: str, datalayer: str, path: str | None = None) -> None:
        """One object is gone, or the server is: whoever is there then is told anew."""
        if path is None:
            self._seen.pop((namespace, datalayer), None)
        else:
            self._seen.get((namespace, datalayer), {}).pop(path, None)
