"""Measure trained networks on a data set: scores with intervals, pictures, and comparisons."""
