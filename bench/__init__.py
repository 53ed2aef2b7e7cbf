"""Measuring: one table, ours beside the raw floor of the same run. ``make bench``, or ``python -m bench --help``."""
