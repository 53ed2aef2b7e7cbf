"""The operator: Datalayers, DataTypes, Tables and Models of a cluster, kept as their specs ask."""
