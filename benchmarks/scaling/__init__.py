"""What several workers cost: measured on this machine, and by a model of it for many.

    python -m benchmarks.scaling

`turn` is what each worker runs, `measurements` runs them, `model` knows no machine, `__main__` fits
and writes, `picture` draws.
"""
