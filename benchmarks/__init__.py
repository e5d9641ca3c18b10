"""Compare this project with stock Keras, PyTorch and ONNX Runtime on this machine's CPU.

    python -m benchmarks --quick       # one size, less than three minutes
    python -m benchmarks               # everything, an hour and a half
    python -m benchmarks.episodes      # the cost of driving a run from outside
    python -m benchmarks.scaling       # the cost of several workers
    python -m benchmarks.shards        # what shards gain or cost
    python -m benchmarks.profile       # a step's time by kinds of ops, here and in PyTorch

`cases` has the networks and their data. `contenders` has the programs that train or evaluate them,
`pytorch` those in PyTorch. `processes` starts processes that measure at each call: `participant`
for a contender, `worker` for `scaling` and `shards`. `turns` lets contenders take turns. `report`
and `picture` show the results.
"""
