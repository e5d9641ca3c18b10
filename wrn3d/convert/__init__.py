"""Convert weights between PyTorch and this project: `python -m wrn3d.convert`."""
