"""The network: its specification, layers, numerics and weights, in either framework."""
