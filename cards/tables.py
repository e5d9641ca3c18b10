"""Write the tables of results into docs/results.md and README.md."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cards.runs import Run, as_time
from wrn3d.data.class_names import set_name
from wrn3d.system.errors import DataError
from wrn3d.system.files import write_atomic
from wrn3d.system.reporting import markdown_table
from wrn3d.system.words import counted, per_cent
from wrn3d.training.evaluation import UNIQUE

IMAGES = ("cifar10", "cifar100")
VOLUMES = ("adrenalmnist3d", "vesselmnist3d", "modelnet10")
ENDING = ["start to end", "training, undisturbed", "log"]
# Columns of the volumes' table: the result in test.json, and its score.
COLUMNS = (
    ("test", "auc"),
    ("test", "accuracy"),
    ("test", "balanced_accuracy"),
    ("mirrored", "auc"),
    ("mirrored", "accuracy"),
)


def images_table(runs: Sequence[Run]) -> str:
    """Return the runs on images, one in each row; "" for none."""
    titles = ["data", "front end", "seed", "test accuracy", "with mirror images"]
    titles += ENDING
    rows = []
    for run in (run for run in runs if data_of(run) in IMAGES):
        scores = (per_cent(run.test[way]["accuracy"]) for way in ("test", "mirrored"))
        rows.append([run.data["title"], run.front_end, str(run.seed), *scores, *_ending(run)])
    return markdown_table(titles, rows) if rows else ""


def volumes_table(runs: Sequence[Run]) -> str:
    """Return the runs on volumes, one in each row, and below them the mean of each data set's.

    "" for none.
    """
    titles = ["data", "front end", "seed", "test AUC", "accuracy", "balanced accuracy"]
    titles += ["with mirror images: AUC", "accuracy", *ENDING]
    rows = []
    for data in VOLUMES:
        own = [run for run in runs if data_of(run) == data]
        for run in own:
            scores = (f"{run.test[way][score]:.3f}" for way, score in COLUMNS)
            rows.append([data, run.front_end, str(run.seed), *scores, *_ending(run)])
        if len(own) > 1:
            rows.append([data, "mean ± standard deviation", "", *_means(own), "", "", ""])
        if len(own) > 1 and f"test{UNIQUE}" in own[0].test:
            count = own[0].test["test"]["count"] - own[0].test[f"test{UNIQUE}"]["count"]
            what = f"without {count} duplicates in the test split"
            rows.append([data, what, "", *_means(own, UNIQUE), "", "", ""])
    return markdown_table(titles, rows) if rows else ""


def summary_table(runs: Sequence[Run]) -> str:
    """Return the results on images and the means on volumes, for README.md."""
    rows = []
    for data in IMAGES:
        own = [run for run in runs if data_of(run) == data]
        if own:
            scores = (
                "**{}** ({})".format(
                    *(per_cent(run.test[way]["accuracy"]) for way in ("test", "mirrored"))
                )
                for run in own
            )
            how = f"recipe `fast`: {_network(own[0])}; {counted(len(own), 'seed')}"
            rows.append([own[0].data["title"], how, ", ".join(scores)])
    for data in VOLUMES:
        own = [run for run in runs if data_of(run) == data]
        if len(own) > 1:
            auc, accuracy, _, mirrored, _ = _means(own)
            how = f"recipe `volumes`: {_network(own[0])}; {len(own)} seeds"
            rows.append([data, how, f"AUC **{auc}** ({mirrored}), accuracy {accuracy}"])
    titles = ["data", "training", "test accuracy or AUC (with mirror images)"]
    return markdown_table(titles, rows)


def data_of(run: Run) -> str:
    """Return the name of a run's data set without its size, such as "modelnet10"."""
    return set_name(run.dataset.removesuffix(".npz"))


def put(path: Path, tables: dict[str, str]) -> None:
    """Replace each table of a page that stands between <!-- name --> and <!-- end -->."""
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        between = re.compile(f"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = between.subn(lambda match: f"{match[1]}{table}\n{match[2]}", text)  # noqa: B023
        if count != 1:
            raise DataError(f"{path} has {count} places <!-- {name} --> for a table: it needs one")
    write_atomic(path, text.encode())


def _network(run: Run) -> str:
    epochs = run.settings["epochs"]
    return f"{run.start['network']['name']}, {epochs} epochs"


def _ending(run: Run) -> list[str]:
    return [
        as_time(run.seconds),
        as_time(run.undisturbed_seconds),
        f"[log](results/{run.name}/log.txt)",
    ]


def _means(runs: Sequence[Run], which: str = "") -> list[str]:
    """Return mean ± standard deviation over the runs of each of COLUMNS."""
    texts = []
    for way, score in COLUMNS:
        values = [run.test[way + which][score] for run in runs]
        texts.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}")
    return texts
