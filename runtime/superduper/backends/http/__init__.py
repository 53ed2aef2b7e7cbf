"""A datalayer's server as databackend, metadata store and artifact store."""
