"""The network: its specification, layers, numerics and weights, for both frameworks."""
