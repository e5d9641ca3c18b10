"""Confusion matrix, accuracy per class, most confident mistakes."""

import numpy as np
import pytest
from PIL import Image

from wrn3d.runs.mistakes import class_table, confusion_matrix, draw_confusion, draw_mistakes
from wrn3d.training.evaluation import Predictions


@pytest.fixture
def predictions():
    """Return predictions of four classes for 200 volumes of the first three."""
    draw = np.random.default_rng(0)
    scores = draw.standard_normal((200, 4))
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return Predictions(scores, draw.integers(0, 3, 200))


def colours(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return len(image.getcolors(2**24))


def test_the_confusion_matrix_is_scikit_learns(predictions):
    from sklearn.metrics import confusion_matrix as reference

    expected = reference(predictions.labels, predictions.classes, labels=range(4))
    assert np.array_equal(confusion_matrix(predictions, 4), expected)


def test_the_table_has_the_worst_classes_first():
    matrix = np.array([[9, 1, 0, 0], [2, 5, 3, 0], [0, 0, 4, 0], [0, 0, 0, 0]])
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in class_table(matrix, ["a", "b\x1b[31m", "c", "d"]).splitlines()
    ]
    assert rows[0] == ["class, the worst first", "images", "accuracy", "most often predicted as"]
    assert rows[2:] == [
        ["b?[31m", "10", "0.5000", "c (30.0%)"],
        ["a", "10", "0.9000", "b?[31m (10.0%)"],
        ["c", "4", "1.0000", "-"],
    ]
    many = class_table(np.eye(100, dtype=int), [str(number) for number in range(100)])
    assert len(many.splitlines()) == 22 and many.startswith("| the worst 20 classes |")


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), (5, 8, 9, 1)])
def test_the_most_confident_mistakes_are_drawn(tmp_path, predictions, shape, monkeypatch):
    from matplotlib.axes import Axes

    pictures, titles = [], []
    monkeypatch.setattr(Axes, "imshow", lambda self, picture, **_: pictures.append(picture))
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **_: titles.append(text))
    volumes = np.random.default_rng(1).integers(0, 256, (200, *shape), np.uint8)
    draw_mistakes(volumes, predictions, "abcd", tmp_path / "worst.png")
    confidence = np.exp(predictions.log_probabilities)
    wrong = np.flatnonzero(predictions.classes != predictions.labels)
    expected = sorted(wrong, key=lambda row: -confidence[row].max())[:24]
    assert len(pictures) == 24
    for row, picture, title in zip(expected, pictures, titles, strict=True):
        assert np.array_equal(picture, volumes[row, shape[0] // 2].squeeze())
        assert title == (
            f"{'abcd'[predictions.classes[row]]} ({confidence[row].max():.1%})\n"
            f"true: {'abcd'[predictions.labels[row]]}"
        )


def test_no_mistakes_and_many_classes_can_be_drawn(tmp_path):
    perfect = Predictions(np.log(np.eye(4) + 1e-9), np.arange(4))
    draw_mistakes(np.zeros((4, 1, 2, 2, 1), np.uint8), perfect, "abcd", tmp_path / "none.png")
    names = [str(number) for number in range(200)]
    draw_confusion(np.diag(np.arange(200)), names, tmp_path / "many.png")
    assert colours(tmp_path / "many.png") > 20 and colours(tmp_path / "none.png") > 2


def test_class_names_may_be_any_name_of_a_folder(tmp_path, predictions):
    names = ["$x^{$", "_x\x1b[31m", "caf\udce9 \u65e5\u672c", "a|b" * 80]
    matrix = confusion_matrix(predictions, 4)
    draw_confusion(matrix, names, tmp_path / "confusion.png")
    volumes = np.zeros((200, 1, 4, 4, 3), np.uint8)
    draw_mistakes(volumes, predictions, names, tmp_path / "worst.png")
    assert colours(tmp_path / "confusion.png") > 20 and colours(tmp_path / "worst.png") > 20
    lines = class_table(matrix, names).splitlines()
    assert all(line.count("|") == 5 and line.isprintable() for line in lines)
