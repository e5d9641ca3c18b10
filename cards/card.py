"""Write the card of a trained network: what it is, what it is for, and how good it is."""

from pathlib import Path

import numpy as np

from cards.networks import ShippedNetwork
from cards.runs import Run, as_time
from wrn3d.system.words import per_cent

CONFUSIONS = 5  # the most frequent ones
LEAST_SHARE = 0.005  # of a class's volumes


def card(network: ShippedNetwork, run: Run, count: int, weights: Path, scores: str) -> str:
    """Return the card as Markdown.

    `count` is the number of runs that `run` was chosen from, `weights` the network's file, `scores`
    the table of `wrn3d.evaluate`.
    """
    start = run.start
    exact = per_cent(run.test["test"]["accuracy"])
    shape = "x".join(map(str, start["network"]["input_shape"]))
    example = "photo.png" if run.has_images else "volume.npy"
    dataset = "" if run.has_images else f" --dataset {run.dataset}"
    rows = {
        "network": f"{start['network']['name']}, {start['network']['parameters']:,} parameters; "
        f"takes {shape} (D, H, W, C)",
        "classes": _classes(run.data["classes"]),
        "data": _data(run),
        "run": f"[{run.name}](../docs/results/{run.name}/log.txt), {run.front_end}, "
        f"seed {run.seed}, {start['ended']['iterations']:,} iterations",
        "command": f"`{run.command}`",
        "machine": run.machine,
        "time": f"{as_time(run.seconds)} from start to end; training alone, with each iteration at "
        f"the tenth percentile of its image size, {as_time(run.undisturbed_seconds)}",
        "file": f"{weights.name}, {weights.stat().st_size / 1e6:.1f} MB, kernels in float16",
    }
    table = "\n".join(["| | |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in rows.items())])
    return f"""# {network.name}: {network.title}

Written by `make cards` from the files of the run; do not edit.

```sh
.venv/bin/python -m wrn3d.predict {network.name} {example}
.venv/bin/python -m wrn3d.evaluate {network.name}{dataset}    # the scores below, anew
```

{table}

## Data

{network.data}

## What it is for

{network.purpose}

## Scores

Of this file on the test split, with 95 % bootstrap intervals:

{scores}

{_chosen(run, count)} The run itself, with weights in float32 and computed in
{run.settings["precision"]}, had an accuracy of {exact}.

## Limits and known mistakes

{network.limits}

{_mistakes(run)}
"""


def _data(run: Run) -> str:
    things = "images" if run.has_images else "volumes"
    splits = ("training", "validation", "test")
    counts = [f"{run.data[split]:,} {split}" for split in splits if run.data[split]]
    return f"{run.data['title']}: {' and '.join([', '.join(counts[:-1]), counts[-1]])} {things}"


def _chosen(run: Run, count: int) -> str:
    if count == 1:
        return "It is the only run."
    if run.validation:
        return f"It is the best of {count} runs on the validation split."
    return (
        f"It is the best of {count} runs on the test split, so its scores are slightly optimistic."
    )


def _classes(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 20 else f"{len(names)}, such as {', '.join(names[:5])}"


def _mistakes(run: Run) -> str:
    """Return the most frequent confusions of the run on the test split as a list."""
    matrix, names = np.array(run.test["confusion"]), run.test["classes"]
    counts = matrix.sum(axis=1)
    wrong = np.where(np.eye(len(names), dtype=bool), 0, matrix)
    lines = [
        f"* {names[true]}: {wrong[true, taken]} of {counts[true]:,} are predicted as {names[taken]}"
        for true, taken in (
            np.unravel_index(place, wrong.shape)
            for place in np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
        )
        if wrong[true, taken] >= max(1, LEAST_SHARE * counts[true])
    ]
    return "\n".join(["The most frequent mistakes on the test split:", "", *lines])
