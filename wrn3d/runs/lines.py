"""The lines that a run prints while it trains and at its end."""

from collections.abc import Collection, Sequence
from statistics import median

from wrn3d.data.dataset import Dataset
from wrn3d.system import memory
from wrn3d.system.words import counted, three_digits
from wrn3d.training.config import TrainingConfig
from wrn3d.training.evaluation import EvalResult, accuracy_says_little, way_text
from wrn3d.training.step import StepResult


def score_text(result: EvalResult, config: TrainingConfig, dataset: Dataset) -> str:
    """Return the accuracy and own metrics as text, and balanced accuracy and AUC where they help.

    They do for two classes, for uneven classes, or if `best_by` is the AUC.
    """
    text = f"accuracy {result.accuracy:.4f}"
    if config.best_by == "auc" or accuracy_says_little(dataset):
        text += f"  balanced {result.balanced_accuracy:.4f}  AUC {result.auc:.4f}"
    return text + "".join(f"  {name} {value:.4f}" for name, value in result.metrics.items())


def is_tested(config: TrainingConfig, dataset: Dataset) -> bool:
    """Return whether a run is measured on the test split at its end."""
    return config.evaluate and len(dataset.test_labels) > 0


def iteration_line(results: Sequence[StepResult], total: int) -> str:
    """Return the line for one iteration, or for the means over several."""
    loss, accuracy, seconds = (
        sum(getattr(result, name) for result in results) / len(results)
        for name in ("loss", "accuracy", "seconds")
    )
    return (
        f"iteration {results[-1].iteration:{len(str(total))}}/{total}  loss {loss:.6f}  "
        f"accuracy {accuracy:.4f}  {results[-1].batch_size / seconds:.1f} images/s"
    )


def progress_note(result: StepResult) -> str:
    """Return the text beside the progress bar."""
    return (
        f"loss {result.loss:.3f} acc {result.accuracy:.2f} lr {result.learning_rate:.2g} "
        f"{three_digits(result.images_per_second)} images/s"
    )


def closing_line(count: int, rates: Collection[float], seconds: float) -> str:
    """Return the line that closes `count` iterations; `rates` are their images per second."""
    if count <= 0:
        return "done      nothing was left to train"
    text = f"done      {counted(count, 'iteration')} in {seconds:.1f} s"
    if rates:
        text += f", median {median(rates):.1f} images/s"
    peak = memory.peak_memory()
    return text + (f", at most {memory.in_gib(peak)} of memory" if peak else "")


def result_line(
    name: str, result: EvalResult, count: int, config: TrainingConfig, dataset: Dataset
) -> str:
    """Return the line for a result on `count` test images.

    `name` is one of `ways_to_measure`.
    """
    how = way_text(name) + (", averaged weights" if config.averaging else "")
    scores = score_text(result, config, dataset)
    return f"test      loss {result.loss:.6f}  {scores}  ({counted(count, 'image')}{how})"
