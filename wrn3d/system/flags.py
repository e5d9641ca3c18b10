"""Read a command line as a dataclass, with tyro."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from wrn3d.system.checks import check_path
from wrn3d.system.errors import quoted
from wrn3d.system.exit_status import exit_status

Config = TypeVar("Config")


def run_command(
    work: Callable[[Config], int | None], config_class: type[Config], module: str, doc: str | None
) -> int:
    """Read the flags of `python -m module`, do its work, and return its exit status.

    `doc` is the module's docstring, which is None under `python -OO`.
    """
    return exit_status(lambda: work(parse_flags(config_class, f"python -m {module}", doc)))


def run_without_flags(work: Callable[[], None], module: str, doc: str | None) -> int:
    """Do the work of `python -m module`, whose only flag is --help, as `run_command` does."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m {module}", description=doc, formatter_class=raw)

    def parse_and_work() -> None:
        parser.parse_args()
        work()

    return exit_status(parse_and_work)


def parse_flags(
    config_class: type[Config],
    prog: str | None,
    description: str | None,
    args: Sequence[str] | None = None,
    default: Config | None = None,
) -> Config:
    """Return a command line as a `config_class`; `args` replace those of the process.

    Raises SystemExit after --help and for wrong flags, so call it inside `exit_status`.
    """
    options: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(
        config_class,
        prog=prog,
        description=description or "",
        args=args,
        registry=_registry,
        **options,
    )


_registry = ConstructorRegistry()
_WORDS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "NAME", Path: "PATH"}
_NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}


@_registry.primitive_rule
def _plain_words(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Read numbers, names and paths, which may be optional or in tuples; show one word for each."""
    kinds = get_args(info.type) or (info.type,)
    optional = NoneType in kinds
    inner = next((one for one in (info.type, *kinds) if get_origin(one) is tuple), None)
    several = inner is not None
    if several:
        kinds = get_args(inner)
    varying = several and kinds[-1] is Ellipsis
    kind = kinds[0]
    if kind not in _WORDS or {*kinds} - {kind, NoneType, Ellipsis}:
        return None

    def read(texts: list[str]) -> Any:
        if optional and texts == ["None"]:
            return None
        if several and not varying and len(texts) != count:
            raise ValueError(f"{len(texts)} given, but it takes {count}")
        values = tuple(_read(kind, text) for text in texts)
        return values if several else values[0]

    word, count = _WORDS[kind], len(kinds) if several else 1
    return PrimitiveConstructorSpec(
        nargs="*" if varying or (optional and several) else count,
        metavar=f"{word} ..." if varying else " ".join([word] * count),
        instance_from_str=read,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [*map(str, value)] if value and several else [str(value)],
    )


def _read(kind: Any, text: str) -> Any:
    if kind is Path:
        return check_path("it", text)  # tyro prints the flag's name before
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not {_NUMBERS[kind]}") from None
