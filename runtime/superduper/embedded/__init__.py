"""Manifests without a cluster: applied in this process, their objects and statuses kept in the home folder."""
