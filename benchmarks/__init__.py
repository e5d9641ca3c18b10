"""Training speed, side by side: this project, stock Keras, PyTorch and the machine's own limit.

    python -m benchmarks --quick       # one size, less than two minutes
    python -m benchmarks               # every size, more than an hour

`cases` says what is measured, `contenders` and `pytorch` who competes, `turn` measures one of them
in a process of its own, `report` and `picture` show what came of it.
"""
