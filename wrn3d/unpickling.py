"""Pickles from outside, read without running anything in them and without hanging."""
import pickle
from typing import ClassVar

MOST_OPERATIONS = 2_000_000  # CIFAR-100's training file has half a million
KEYS = (bytes, str, int)  # hashing others, such as tuples of tuples, can take for ever


def _counted(operation):
    def operate(self):
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            raise pickle.UnpicklingError(f"it takes more than {MOST_OPERATIONS:,} steps")
        operation(self)

    return operate


class RestrictedUnpickler(pickle._Unpickler):
    """Admits only the names for which `admitted` has a stand-in, {(module, name): stand-in}.

    Python's own unpickler and not the one in C, which allocates whatever size a memo index in
    the file claims. Here each operation takes a hundred bytes of memory at the most, beside what
    it copies from the file.
    """

    # Not those that allocate what they claim, nor those that hash anything.
    dispatch: ClassVar[dict] = {
        code: _counted(operation) for code, operation in pickle._Unpickler.dispatch.items()
        if bytes([code]) not in (pickle.BYTEARRAY8, pickle.EMPTY_SET, pickle.FROZENSET,
                                 pickle.ADDITEMS)}
    operations = 0

    def __init__(self, file, admitted):
        super().__init__(file, encoding="bytes")
        self.admitted = admitted

    def find_class(self, module, name):
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return self.admitted[module, name]

    def load_setitem(self):
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self):
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self):
        self._check_keys(self.stack[::2])
        super().load_dict()

    def _check_keys(self, keys):
        if not all(type(key) in KEYS for key in keys):
            raise pickle.UnpicklingError("it has a dictionary with other keys than texts")

    for code, operation in ((pickle.SETITEM, load_setitem), (pickle.SETITEMS, load_setitems),
                            (pickle.DICT, load_dict)):
        dispatch[code[0]] = _counted(operation)
