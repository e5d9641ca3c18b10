"""Whole runs: from the command line to checkpoints, logs and pictures in a folder.

    python cifar_wide_resnet_tl.py --output runs/first

`command` reads the flags and prints, `loop` trains, `output` writes into the `folder`, `resuming`
and `divergence` go back to a checkpoint, `record` describes the run and its results.
"""
