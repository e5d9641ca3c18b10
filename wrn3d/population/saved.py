"""Save and read a population: population.json, and a checkpoint for each member."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

from wrn3d.population.lineage import Lineage, check_environment, check_same_run
from wrn3d.population.member import Member
from wrn3d.population.shared import SharedEnvironment
from wrn3d.system.checks import check_count, check_path, require
from wrn3d.system.errors import DataError, UsageError, reason
from wrn3d.system.files import file_errors, require_file, write_atomic
from wrn3d.system.reporting import writing_to
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import LOGGED, EvalResult

INDEX = "population.json"
INVALID = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError)


class KeptMember(NamedTuple):
    """What a population's folder says of a member."""

    state: Checkpoint
    lineage: Lineage
    draws: int
    result: EvalResult | None
    measured_on: str


class Content(NamedTuple):
    """What a population's folder holds."""

    seed: int
    members: list[KeptMember]
    history: list[dict[str, Any]]


def save(folder: str | Path, members: Sequence[Member], shared: SharedEnvironment) -> None:
    """Write members to a folder; the index, written last, names their files.

    The files that the index named before are removed. Raises UserError if one cannot be written.
    """
    folder = check_path("folder", folder)
    states = [member.state for member in members]  # which may raise, before anything is written
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    saves, before = _files_before(folder)
    kept = []
    for member, state in zip(members, states, strict=True):
        file = f"member-{saves + 1}-{member.number}.safetensors"
        state.save(folder / file)
        kept.append(
            {
                "file": file,
                "lineage": asdict(member.lineage),
                "draws": member.draws,
                "result": member.result and member.result.as_json,
                "measured_on": member.measured_on,
            }
        )
    content = {"saves": saves + 1, "seed": shared.seed, "members": kept, "history": shared.history}
    write_atomic(folder / INDEX, (json.dumps(content, indent=1) + "\n").encode())
    with file_errors(folder, "cleared"):
        for name in before:
            (folder / name).unlink(missing_ok=True)


def _files_before(folder: Path) -> tuple[int, list[str]]:
    """Return how often a population was saved to a folder, and the files that its index names."""
    with suppress(*INVALID):
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return int(content["saves"]), [Path(one["file"]).name for one in content["members"]]
    return 0, []


def read(folder: str | Path, env: TrainingEnvironment) -> Content:
    """Return what `save` wrote, for an environment with the same data and settings.

    Raises MissingDataError or DataError if it cannot be read, and UsageError for another
    environment.
    """
    check_environment(env)
    path = check_path("folder", folder) / INDEX
    require_file(path, "name a folder that Population.save wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        members = [_read_member(path.parent, one) for one in content["members"]]
        require(len(members) > 1, "it has fewer than two members")
        seed = check_count("seed", content["seed"], least=0)
        history = [dict(one) for one in content["history"]]
    except INVALID as error:
        raise DataError(f"{path} cannot be read as a population ({reason(error)})") from error
    for one in members:
        check_same_run(one.state, env, str(path))
    return Content(seed, members, history)


def _read_member(folder: Path, content: dict[str, Any]) -> KeptMember:
    scores = content["result"]
    if scores is not None:
        numbers = {name: nan if one is None else float(one) for name, one in scores.items()}
        own = {name: one for name, one in numbers.items() if name not in LOGGED}
        scores = EvalResult(**{name: numbers[name] for name in LOGGED}, metrics=own)
    return KeptMember(
        Checkpoint.load(folder / Path(content["file"]).name),
        Lineage.of(content["lineage"]),
        check_count("draws", content["draws"], least=0),
        scores,
        str(content["measured_on"]),
    )
