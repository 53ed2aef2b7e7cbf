"""Objects of Kubernetes as plain dicts."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]
"""An object of Kubernetes, or a part of one, as its YAML says it."""
