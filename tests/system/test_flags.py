"""How flags are described and refused."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from wrn3d.runs.command import read_flags
from wrn3d.runs.config import RunConfig
from wrn3d.system.flags import parse_flags


@dataclass(frozen=True)
class Flags:
    """Flags of each kind."""

    count: int | None = None
    """How many."""
    rate: float = 0.5
    """How fast."""
    folder: Path | None = None
    """Where."""
    shape: tuple[int, int, int] = (1, 2, 3)
    """Sides."""
    parts: tuple[float, ...] = ()
    """Shares."""
    ends: tuple[str, str] | None = None
    """From where to where."""


def parse(*words):
    return parse_flags(Flags, "flags", "", words)


def test_flags_are_read():
    words = ["--count", "3", "--folder", "runs/x", "--shape", "4", "5", "6", "--parts"]
    assert parse(*words) == Flags(3, 0.5, Path("runs/x"), (4, 5, 6), ())
    assert parse("--count", "None", "--parts", "0.5", "1") == Flags(None, parts=(0.5, 1.0))
    assert parse("--ends", "-160", "240").ends == ("-160", "240")
    assert parse("--ends", "None").ends is None


@pytest.mark.parametrize(
    "words, message",
    [
        ("--count x", "--count: 'x' is not a whole number"),
        ("--count 1.5", "--count: '1.5' is not a whole number"),
        ("--rate fast", "--rate: 'fast' is not a number"),
        ("--ends -160", "--ends: 1 given, but it takes 2"),
        ("--ends", "--ends: 0 given, but it takes 2"),
        ("--ends None 5 6", "--ends: 3 given, but it takes 2"),
        ("--shape 1 2 x", "--shape: 'x' is not a whole number"),
        ("--parts 1 x", "--parts: 'x' is not a number"),
        ("--folder=", "--folder: it is '', but must be the path of a file or folder"),
        ("--folder s3://b/x", "--folder: it is 's3://b/x', but must be a path, not a URL"),
        ("--folder file:///x", "--folder: it is 'file:///x', but must be a path, not a URL"),
    ],
)
def test_a_wrong_value_is_named_in_plain_words(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(*words.split())
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_help_names_choices_and_no_types_of_python(capsys):
    with pytest.raises(SystemExit):
        read_flags(RunConfig, "script", "", ["--help"])
    text = capsys.readouterr().out
    for shown in (
        *("--optimizer {sgd,muon,adam}", "--flip-axes {depth,height,width} ...", "--epochs INT "),
        *(
            "--shortcut {pad,projection}",
            "--output PATH ",
            "--strides INT INT INT",
            "--sizes FLOAT",
        ),
        *("--on-nan {stop,restore}", "--recipe {original,paper,fast,volumes,FILE.toml}"),
    ):
        assert shown in text
    assert "STR" not in text and "{None}" not in text
