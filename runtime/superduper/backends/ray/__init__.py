"""Compute on the actors of a Ray cluster."""

from superduper.backends.ray.compute import RayComputeBackend

__all__ = ["RayComputeBackend"]
