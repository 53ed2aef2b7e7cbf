"""How fast the operator is, against a real API server with stores and datalayer servers stood in for."""
