"""What several workers cost: measured on this machine, and by a model of it for many.

    python -m wrn3d.benchmark.scaling

`turn` is what each worker runs, `model` knows no machine, `__main__` measures, fits and draws.
"""
