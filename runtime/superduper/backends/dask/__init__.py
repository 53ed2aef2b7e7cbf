"""Compute on the workers of a dask cluster."""

from superduper.backends.dask.compute import DaskComputeBackend

__all__ = ["DaskComputeBackend"]
