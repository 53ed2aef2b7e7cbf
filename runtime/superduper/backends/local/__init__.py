"""Compute in this process."""

from superduper.backends.local.compute import LocalComputeBackend

__all__ = ["LocalComputeBackend"]
