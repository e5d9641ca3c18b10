"""Say whether the scores on a trained network's card are reproduced."""

import re

ENDS = r"\((?:[0-9.]+(?: %)? to [0-9.]+(?: %)?|no interval)\)"
SCORE = re.compile(rf"(?:[0-9.]+(?: %)? {ENDS}|undefined)")


def difference(card: str, table: str) -> str:
    """Return what differs between a card's scores and those of a table, or "" if nothing does.

    A tenth of the table's interval counts as the same: other CPUs round differently, so that a few
    volumes may get another class.
    """
    there, here = _scores(card), _scores(table)
    if {name: len(scores) for name, scores in there.items()} != {
        name: len(scores) for name, scores in here.items()
    }:
        return f"{', '.join(there) or 'none'} instead of {', '.join(here)}"
    for name, scores in here.items():
        for text, other in zip(scores, there[name], strict=True):
            numbers, others = _numbers(text), _numbers(other)
            tolerance = (numbers[2] - numbers[1]) / 10 if len(numbers) == 3 else 0
            pairs = zip(numbers, others, strict=False)
            if len(numbers) != len(others) or any(abs(a - b) > tolerance for a, b in pairs):
                return f"{name}: {other}, but here {text}"
    return ""


def _scores(text: str) -> dict[str, list[str]]:
    """Return {first cell: other cells} of each row of Markdown tables that ends in a score."""
    rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines())
    return {cells[0]: cells[1:] for cells in rows if cells and SCORE.fullmatch(cells[-1])}


def _numbers(score: str) -> list[float]:
    return [float(number) for number in re.findall(r"[0-9.]+", score.replace(",", ""))]
