"""Weights from PyTorch, and back: `python -m wrn3d.convert`."""
