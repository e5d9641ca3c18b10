"""TensorLayer against Keras: the same run by both scripts, side by side.

    python -m wrn3d.compare --dataset digits --iterations 100

`side` runs a script in a process of its own, `comparison` takes the steps in turn and finds what
differs, `report`, `picture` and `page` write it down.
"""
