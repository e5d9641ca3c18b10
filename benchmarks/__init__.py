"""Measure the training speed of this project, stock Keras and PyTorch on this machine's CPU.

    python -m benchmarks --quick       # one size, less than two minutes
    python -m benchmarks               # every size, more than an hour
    python -m benchmarks.episodes      # the cost of driving a run from outside
    python -m benchmarks.scaling       # the cost of several workers
    python -m benchmarks.shards        # what shards gain or cost

`cases` has the networks and their data. `contenders` has the programs that train them. `turn`
measures one contender in a process of its own. `report` shows the results. `processes` starts
processes; `worker` trains by turns in those of `scaling` and `shards`.
"""
