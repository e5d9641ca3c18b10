"""What a user can get wrong: exceptions whose message is the one sentence that is shown."""

LONGEST = 200  # characters of what another library says


def reason(error) -> str:
    """What an exception says, as a part of a sentence: its first line, without a full stop.

    It may quote a file: no more than LONGEST of it, and nothing that a terminal would obey.
    """
    said = (getattr(error, "strerror", None) or "").lower() or str(error).strip()
    return printable((said or type(error).__name__).splitlines()[0].rstrip("."))


def quoted(value) -> str:
    """A value from a file, in the same way."""
    return printable(repr(value))


def printable(text, longest=LONGEST) -> str:
    """A text from a file, in the same way."""
    text = visible(text)
    return text if len(text) <= longest else f"{text[:longest]}..."


def visible(text) -> str:
    """A text of any length, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


class UserError(Exception):
    """Shown without a traceback by the scripts, which then end with `exit_status`."""

    exit_status = 1


class UsageError(UserError, ValueError):
    """A setting that cannot be: the command line, a specification, an argument."""

    exit_status = 2


class DataError(UserError, ValueError):
    """A data set or a checkpoint that is there, but is not what it should be."""


class MissingDataError(UserError, FileNotFoundError):
    """A data set or a checkpoint that is not there and cannot be fetched."""


class DivergedError(UserError):
    """A loss that is no finite number: there is nothing to go on with."""


class WorkerError(UserError):
    """Another worker of the run is gone, or does not answer."""

    exit_status = 3  # by which `wrn3d.launch` knows that the run can go on from its checkpoint


class NotEnoughMemoryError(UserError, MemoryError):
    """More memory would be needed than there is."""


class Stopped(BaseException):
    """A signal ended the work in good order; says where, and how to go on."""

    def __init__(self, number, message):
        super().__init__(message)
        self.exit_status = 128 + number
