"""Start several workers of a run on this machine: `python -m wrn3d.launch`."""
