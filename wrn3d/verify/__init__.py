"""Verify that this machine computes rightly, and that it computes the recorded bits.

    python -m wrn3d.verify

`reference` and `updates` have every op in plain NumPy, `rounding` the largest error that rounding
explains. `operations` and `batch_norms` prepare the ops that `cases` lists, and `checking` compares
them. `trainings` has small runs, `records` the recorded digests.
"""
