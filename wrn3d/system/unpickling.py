"""Pickles from outside, read without running anything in them and without hanging."""

import pickle
from typing import ClassVar

MOST_OPERATIONS = 2_000_000  # CIFAR-100's training file has half a million
MOST_ARGUMENTS = 16  # of what is made: an array's, a tensor's
KEYS = (bytes, str, int)  # hashing others, such as tuples of tuples, can take for ever
LARGEST_KEY = 2**32  # numbers beyond can be chosen so that they all collide in a dictionary

# What protocol 2, and a later one, writes of numbers, texts, lists, tuples, dictionaries and calls.
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
    "BUILD",
    "BINPERSID",
    "BINPUT",
    "LONG_BINPUT",
    "MEMOIZE",
    "BINGET",
    "LONG_BINGET",
)


def _counted(operation):
    def operate(self):
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            raise pickle.UnpicklingError(f"it takes more than {MOST_OPERATIONS:,} steps")
        operation(self)

    return operate


class _Operations(dict):
    """{code: method}."""

    def __missing__(self, code):
        raise pickle.UnpicklingError("it has an operation that is not needed for arrays")


class RestrictedUnpickler(pickle._Unpickler):
    """Admits only the names for which `admitted` has a stand-in, {(module, name): stand-in}.

    Python's own unpickler and not the one in C, which allocates whatever size a memo index in
    the file claims. Here each of OPERATIONS takes a few hundred bytes of memory at the most,
    beside what it copies from the file; there are no others.
    """

    dispatch: ClassVar[dict] = _Operations()
    operations = 0

    def __init__(self, file, admitted):
        super().__init__(file, encoding="bytes")
        self.admitted = admitted

    def find_class(self, module, name):
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return self.admitted[module, name]

    def load_reduce(self):
        arguments = self.stack[-1]
        if type(arguments) is not tuple or len(arguments) > MOST_ARGUMENTS:
            raise pickle.UnpicklingError("it makes something of other arguments than a few")
        super().load_reduce()

    def load_build(self):
        if not hasattr(self.stack[-2], "__setstate__"):
            raise pickle.UnpicklingError("it sets the state of something that has none")
        super().load_build()

    def load_setitem(self):
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self):
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def _check_keys(self, keys):
        for key in keys:
            if type(key) not in KEYS or (type(key) is int and abs(key) > LARGEST_KEY):
                raise pickle.UnpicklingError("it has a dictionary with other keys than texts")

    for name in OPERATIONS:
        code = getattr(pickle, name)[0]
        dispatch[code] = _counted(pickle._Unpickler.dispatch[code])
    for name, operation in (
        ("REDUCE", load_reduce),
        ("BUILD", load_build),
        ("SETITEM", load_setitem),
        ("SETITEMS", load_setitems),
    ):
        dispatch[getattr(pickle, name)[0]] = _counted(operation)
