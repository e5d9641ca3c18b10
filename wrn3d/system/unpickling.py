"""Read pickles from untrusted files without running code from them and without hanging."""

import pickle
from collections.abc import Callable, Iterable
from typing import IO, Any, ClassVar, NoReturn

MOST_OPERATIONS = 2_000_000  # CIFAR-100's training file has half a million
MOST_ARGUMENTS = 16  # of the call that makes an array or a tensor
KEYS = (bytes, str, int)  # hashing others, such as nested tuples, can take for ever
LARGEST_KEY = 2**60  # larger numbers can be chosen so that they all collide in a dictionary

# Operations of protocol 2 and later for numbers, strings, lists, tuples, dictionaries and calls.
OPERATIONS = (
    "PROTO",
    "FRAME",
    "STOP",
    "MARK",
    "POP",
    "POP_MARK",
    "NONE",
    "NEWTRUE",
    "NEWFALSE",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "LONG4",
    "BINFLOAT",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "EMPTY_TUPLE",
    "TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
    "EMPTY_LIST",
    "APPEND",
    "APPENDS",
    "EMPTY_DICT",
    "SETITEM",
    "SETITEMS",
    "GLOBAL",
    "STACK_GLOBAL",
    "REDUCE",
    "NEWOBJ",
    "BUILD",
    "BINPERSID",
    "BINPUT",
    "LONG_BINPUT",
    "MEMOIZE",
    "BINGET",
    "LONG_BINGET",
)


def _counted(operation: Callable) -> Callable:
    def operate(self: Any) -> None:
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            raise pickle.UnpicklingError(f"it takes more than {MOST_OPERATIONS:,} steps")
        operation(self)

    return operate


class _Operations(dict):
    """{code: method} of the admitted operations."""

    def __missing__(self, code: int) -> NoReturn:
        raise pickle.UnpicklingError("it uses a forbidden pickle operation")


_Unpickler: Any = pickle._Unpickler  # written in Python; the type stubs lack its methods


def check_keys(keys: Iterable) -> None:
    """Raise UnpicklingError for keys that could make a dictionary slow."""
    for key in keys:
        if type(key) not in KEYS or (type(key) is int and abs(key) > LARGEST_KEY):
            raise pickle.UnpicklingError("it has a dictionary with unusual keys")


class RestrictedUnpickler(_Unpickler):
    """An unpickler that reads strings as bytes and admits only the OPERATIONS.

    `admitted` maps each admitted (module, name) to a stand-in; other names are refused. The base is
    the unpickler written in Python. The one in C would allocate whatever size a memo index in the
    file claims. Here each operation takes at most a few hundred bytes, besides the data that it
    copies from the file.
    """

    dispatch: ClassVar[dict] = _Operations()
    operations = 0

    def __init__(self, file: IO[bytes], admitted: dict[tuple[str, str], Any]) -> None:
        super().__init__(file, encoding="bytes")
        self.admitted = admitted

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return self.admitted[module, name]

    def load_reduce(self) -> None:
        self._check_arguments()
        super().load_reduce()

    def load_newobj(self) -> None:
        self._check_arguments()
        super().load_newobj()

    def _check_arguments(self) -> None:
        arguments = self.stack[-1]
        if type(arguments) is not tuple or len(arguments) > MOST_ARGUMENTS:
            raise pickle.UnpicklingError("it calls something with more than a few arguments")

    def load_build(self) -> None:
        if not hasattr(self.stack[-2], "__setstate__"):
            raise pickle.UnpicklingError("it sets the state of an object without one")
        super().load_build()

    def load_setitem(self) -> None:
        check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        check_keys(self.stack[::2])
        super().load_setitems()

    for name in OPERATIONS:
        code = getattr(pickle, name)[0]
        dispatch[code] = _counted(_Unpickler.dispatch[code])
    for name, operation in (
        ("REDUCE", load_reduce),
        ("NEWOBJ", load_newobj),
        ("BUILD", load_build),
        ("SETITEM", load_setitem),
        ("SETITEMS", load_setitems),
    ):
        dispatch[getattr(pickle, name)[0]] = _counted(operation)
