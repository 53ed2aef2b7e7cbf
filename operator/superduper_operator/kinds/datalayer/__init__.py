"""The kind of that name."""
