"""Confusion matrix, accuracy per class, most confident mistakes."""

import numpy as np
import pytest
from PIL import Image

from wrn3d.data.listing import Listing
from wrn3d.runs import mistakes
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
    draw_mistakes(volumes, predictions, "abcd", tmp_path / "worst.png", "first, test split")
    confidence = np.exp(predictions.log_probabilities)
    wrong = np.flatnonzero(predictions.classes != predictions.labels)
    expected = sorted(wrong, key=lambda row: -confidence[row].max())[:24]
    assert len(pictures) == 24
    assert titles.pop(0) == (
        f"first, test split: accuracy {1 - len(wrong) / 200:.4f}, the 24 most confident of "
        f"{len(wrong)} mistakes"
    )
    for row, picture, title in zip(expected, pictures, titles, strict=True):
        assert np.array_equal(picture, volumes[row, shape[0] // 2].squeeze())
        assert title == (
            f"image {row}\n{'abcd'[predictions.classes[row]]} ({confidence[row].max():.1%})\n"
            f"true: {'abcd'[predictions.labels[row]]}"
        )


@pytest.mark.parametrize(
    "labels, heading",
    [
        ([0, 1, 2, 3], "run, test split: accuracy 1.0000, no mistakes"),
        ([0, 1, 2, 2], "run, test split: accuracy 0.7500, 1 mistake"),
    ],
)
def test_titles_say_run_split_and_score(tmp_path, monkeypatch, labels, heading):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    titles = []
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **_: titles.append(text))
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **_: titles.append(text))
    predictions = Predictions(np.log(np.eye(4) + 1e-9), np.array(labels))
    volumes, title = np.zeros((4, 1, 2, 2, 1), np.uint8), "run, test split"
    draw_mistakes(volumes, predictions, "abcd", tmp_path / "worst.png", title)
    matrix = confusion_matrix(predictions, 4)
    draw_confusion(matrix, "abcd", tmp_path / "confusion.png", title)
    right = np.trace(matrix)
    assert titles[0] == heading
    assert f"{title}\naccuracy {right / 4:.4f} ({right} of 4)" in titles


def test_no_mistakes_and_many_classes_can_be_drawn(tmp_path):
    perfect = Predictions(np.log(np.eye(4) + 1e-9), np.arange(4))
    draw_mistakes(np.zeros((4, 1, 2, 2, 1), np.uint8), perfect, "abcd", tmp_path / "none.png", "x")
    names = [str(number) for number in range(200)]
    draw_confusion(np.diag(np.arange(200)), names, tmp_path / "many.png", "x")
    assert colours(tmp_path / "many.png") > 20 and colours(tmp_path / "none.png") > 2


def test_class_names_may_be_any_name_of_a_folder(tmp_path, predictions):
    names = ["$x^{$", "_x\x1b[31m", "caf\udce9 \u65e5\u672c", "a|b" * 80]
    matrix = confusion_matrix(predictions, 4)
    draw_confusion(matrix, names, tmp_path / "confusion.png", "$x^{$, test split")
    volumes = np.zeros((200, 1, 4, 4, 3), np.uint8)
    draw_mistakes(volumes, predictions, names, tmp_path / "worst.png", "$x^{$, test split")
    assert colours(tmp_path / "confusion.png") > 20 and colours(tmp_path / "worst.png") > 20
    lines = class_table(matrix, names).splitlines()
    assert all(line.count("|") == 5 and line.isprintable() for line in lines)


def test_scans_are_drawn_as_radiologists_look(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(mistakes, "save_figure", lambda figure, path: drawn.append(figure))
    volumes = np.zeros((2, 3, 4, 5, 1), np.int16)
    volumes[:, 1, 3, 4] = 700  # at the front, on the patient's right
    wrong = Predictions(np.log([[0.9, 0.1], [0.2, 0.8]]), np.array([1, 0]))
    for are_scans, place in ((True, (0, 0)), (False, (-1, -1))):
        mistakes.draw_mistakes(volumes, wrong, "ab", tmp_path / "x.png", "run", are_scans)
        for image in drawn.pop().axes[0].images:
            assert image.get_array()[place] == 700 and image.get_clim() == (0, 700)


def test_captions_have_the_row_and_the_end_of_the_path(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    texts = []
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **_: texts.append(text))
    files = ["study/sub-1_acq-mprage/scan.nii.gz", "study/sub-2_acq-mprage/scan.nii.gz"]
    predictions = Predictions(np.log([[0.9, 0.1], [0.8, 0.2]]), np.array([1, 1]))
    volumes = np.zeros((2, 1, 4, 4, 1), np.uint8)
    listed = predictions._replace(listing=Listing.of(files))
    draw_mistakes(volumes, listed, ["a", "b"], tmp_path / "x.png", "run")
    assert [text.split("\n")[0] for text in texts[1:]] == [
        "0: ...mprage/scan.nii.gz",
        "1: ...mprage/scan.nii.gz",
    ]
