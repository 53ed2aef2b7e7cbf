"""The datalayer server: the runtime with a door."""
