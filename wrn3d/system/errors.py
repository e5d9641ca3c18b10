"""Exceptions for a user's mistakes. The message is the one sentence that the user sees."""

LONGEST = 200  # characters quoted from a file or from another library's error


class UserError(Exception):
    """An error that a command prints without a traceback before it exits with `exit_status`."""

    exit_status = 1


class UsageError(UserError, ValueError):
    """An invalid setting on the command line, in a specification or in an argument."""

    exit_status = 2


class DataError(UserError, ValueError):
    """A data set or checkpoint that exists but is damaged or unsuitable."""


class MissingDataError(UserError, FileNotFoundError):
    """A data set or checkpoint that does not exist and cannot be downloaded."""


class DivergedError(UserError):
    """A NaN or infinite loss that ends the run."""


class WorkerError(UserError):
    """Another worker of the run was lost or does not answer."""

    exit_status = 3  # tells `wrn3d.launch` that the run can continue from its checkpoint


class NotEnoughMemoryError(UserError, MemoryError):
    """The work needs more memory than is available."""


class Stopped(BaseException):
    """A signal stopped the work cleanly. The message says where, and how to continue."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = 128 + number


def reason(error: BaseException) -> str:
    """Return an exception's first line without its full stop, to be put into a sentence.

    The text may quote a damaged file, so it is made `printable`.
    """
    text = (getattr(error, "strerror", None) or "").lower() or str(error).strip()
    return printable((text or type(error).__name__).splitlines()[0].rstrip("."))


def quoted(value: object) -> str:
    """Return a printable `repr` of a value, or only the shape if it is an array."""
    shape = getattr(value, "shape", ())
    is_array = isinstance(shape, tuple) and len(shape) > 0
    return f"an array of the shape {tuple(shape)}" if is_array else printable(repr(value))


def printable(text: str, longest: int = LONGEST) -> str:
    """Return `visible(text)`, cut after `longest` characters."""
    text = visible(text)
    return text if len(text) <= longest else f"{text[:longest]}..."


def visible(text: str) -> str:
    """Replace each unprintable character, which could control a terminal, by a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)
