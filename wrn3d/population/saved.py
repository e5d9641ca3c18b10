"""Save and read a population: population.json, and a checkpoint for each member."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

from wrn3d.population.lineage import Lineage
from wrn3d.population.member import Member
from wrn3d.population.shared import SharedEnvironment
from wrn3d.system.checks import check_count, check_path, require
from wrn3d.system.errors import DataError, UsageError, quoted, reason
from wrn3d.system.files import file_errors, require_file, write_atomic
from wrn3d.system.reporting import writing_to
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import DATA
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import LOGGED, EvalResult

INDEX = "population.json"
FILES = "member-*.safetensors"
# Settings that may differ: where the data are, and what a script does at its end.
FREE = ("dataset", "data_dir", "evaluate", "mirror", "seed")


class KeptMember(NamedTuple):
    """What a population's folder says of a member."""

    state: Checkpoint
    lineage: Lineage
    draws: int
    result: EvalResult | None


class Content(NamedTuple):
    """What a population's folder holds."""

    seed: int
    members: list[KeptMember]
    history: list[dict[str, Any]]


def save(folder: str | Path, members: Sequence[Member], shared: SharedEnvironment) -> None:
    """Write members to a folder; the index, written last, names their files.

    Raises UserError if a file cannot be written.
    """
    folder = check_path("folder", folder)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in folder.glob(FILES)}
    number = 1 + max((int(name.split("-")[1]) for name in before), default=0)
    kept = []
    for member in members:
        file = f"member-{number}-{member.number}.safetensors"
        member.state.save(folder / file)
        kept.append(
            {
                "file": file,
                "lineage": asdict(member.lineage),
                "draws": member.draws,
                "result": member.result and member.result.as_json,
            }
        )
    content = {"seed": shared.seed, "members": kept, "history": shared.history}
    write_atomic(folder / INDEX, (json.dumps(content, indent=1) + "\n").encode())
    with file_errors(folder, "cleared"):
        for name in before:
            (folder / name).unlink(missing_ok=True)


def read(folder: str | Path, env: TrainingEnvironment) -> Content:
    """Return what `save` wrote, for an environment with the same data and settings.

    Raises MissingDataError or DataError if it cannot be read, and UsageError for another
    environment.
    """
    path = check_path("folder", folder) / INDEX
    require_file(path, "name a folder that Population.save wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        members = [_read_member(path.parent, one) for one in content["members"]]
        seed = check_count("seed", content["seed"], least=0)
        history = [dict(one) for one in content["history"]]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        UsageError,
    ) as error:
        raise DataError(f"{path} cannot be read as a population ({reason(error)})") from error
    for one in members:
        _check_environment(one.state, env, path)
    return Content(seed, members, history)


def _read_member(folder: Path, content: dict[str, Any]) -> KeptMember:
    scores = content["result"]
    if scores is not None:
        numbers = {name: nan if one is None else float(one) for name, one in scores.items()}
        own = {name: one for name, one in numbers.items() if name not in LOGGED}
        scores = EvalResult(**{name: numbers[name] for name in LOGGED}, metrics=own)
    state = Checkpoint.load(folder / Path(content["file"]).name)
    lineage = Lineage.of(content["lineage"])
    return KeptMember(state, lineage, check_count("draws", content["draws"], least=0), scores)


def _check_environment(state: Checkpoint, env: TrainingEnvironment, path: Path) -> None:
    """Raise UsageError if an environment has other data or settings than a member had."""
    require(
        state.config.get(DATA) == env.fingerprint,
        f"{path} is of a population on other data than {env.dataset.title}: use its own",
    )
    own = json.loads(json.dumps(env.config.settings, default=str))
    for name in own.keys() - FREE:
        before = state.config.get(name, own[name])
        require(
            before == own[name],
            f"{path} is of a population with {name} {quoted(before)}, but the environment has "
            f"{quoted(own[name])}: use the population's own",
        )
