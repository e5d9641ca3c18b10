"""Compare TensorLayer with Keras: both scripts train the same run side by side.

    python -m wrn3d.compare --dataset digits --iterations 100

`side` runs a script in a process of its own. `comparison` trains both sides in turn and finds
where they differ. `report`, `picture` and `page` write the results.
"""
