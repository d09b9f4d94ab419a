"""The pickle inside a PyTorch file, read without the pickle module: it can make plain containers and tensors only.

A pickle is a program for a small machine with a stack and a memo. This machine knows the words that torch.save writes
for dicts, lists, numbers, strings and tensors. It calls nothing: a pickle may name what is in CALLED, and no attribute
of anything can be reached. Time and memory are bounded by the length of the pickle and by MOST_STEPS.
"""

import pickletools
from collections.abc import Callable
from typing import NamedTuple

from neonext_ms.checkpoint.fields import shown
from neonext_ms.errors import UserError

MOST_STEPS = 300_000  # words of the pickle; a checkpoint of 10,000 tensors takes 250,000

# Bit patterns of bfloat16 are read as uint16: NumPy has no such type.
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
ORDERED_DICT, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"
CALLED = (ORDERED_DICT, TENSOR, PARAMETER)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_VALUES |= {"BINSTRING", "SHORT_BINSTRING"}
_NOTHING = {"PROTO", "FRAME", "STOP"}


class Storage(NamedTuple):
    """Values of one type in an entry of the file; dtype as NumPy has it, or "bfloat16"."""

    dtype: str
    key: str
    count: int


class Global(str):
    """A name that the pickle asks for: "torch FloatStorage"."""


class Unpickler:
    """Runs one pickle.

    Args:
        make_tensor: of a Storage, an offset, a shape and strides, all in elements and as the file has them.
        source: of the pickle, for messages.
    """

    def __init__(self, make_tensor: Callable, source: str):
        self.make_tensor = make_tensor
        self.source = source
        self.stack, self.marks, self.memo = [], [], {}

    def load(self, data: bytes):
        """The object.

        Raises:
            UserError: it names something that is not in CALLED.
            ValueError, LookupError, TypeError: it is damaged, or says what torch.save does not.
        """
        for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if step > MOST_STEPS:
                raise ValueError(f"more than {MOST_STEPS} words")
            self._do(opcode.name, argument)
        return self.stack.pop()

    def _do(self, word: str, argument):
        stack, memo = self.stack, self.memo
        if word in _VALUES:
            stack.append(argument)
        elif word in _CONSTANTS:
            stack.append(_CONSTANTS[word])
        elif word in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif word == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif word in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif word == "MARK":
            self.marks.append(len(stack))
        elif word in _TUPLES:
            stack.append(tuple(self._take(len(stack) - _TUPLES[word])))
        elif word == "TUPLE":
            stack.append(tuple(self._take(self.marks.pop())))
        elif word == "EMPTY_DICT":
            stack.append({})
        elif word == "EMPTY_LIST":
            stack.append([])
        elif word in ("APPEND", "APPENDS"):
            values = self._take(len(stack) - 1 if word == "APPEND" else self.marks.pop())
            self._top(list).extend(values)
        elif word in ("SETITEM", "SETITEMS"):
            self._set_items(self._take(len(stack) - 2 if word == "SETITEM" else self.marks.pop()))
        elif word in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._named(argument if word == "GLOBAL" else " ".join(self._take(len(stack) - 2))))
        elif word == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif word == "REDUCE":
            stack.append(self._called(*self._take(len(stack) - 2)))
        elif word == "BUILD":
            stack.pop()  # attributes of an OrderedDict, such as the versions of a state dict's modules
            self._top(dict)
        elif word not in _NOTHING:
            raise ValueError(f"the word {word}")

    def _take(self, start: int) -> list:
        """What stands on the stack from here on."""
        if start < 0:
            raise IndexError("the stack is empty")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _top(self, kind: type):
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"a {type(self.stack[-1]).__name__} where a {kind.__name__} must be")
        return self.stack[-1]

    def _set_items(self, items: list):
        # Only keys whose hash takes no time: that of nested tuples can take for ever.
        if len(items) % 2 or not all(isinstance(key, str | int | float | None) for key in items[::2]):
            raise TypeError("a dict with other keys than texts and numbers")
        self._top(dict).update(zip(items[::2], items[1::2]))

    def _named(self, name: str) -> Global:
        module, _, attribute = name.partition(" ")
        if name not in CALLED and not (module == "torch" and attribute in STORAGES):
            raise UserError(
                f"{self.source} holds more than weights: to read it, {shown(f'{module}.{attribute}')} would have to be "
                "called, which a file may not ask for; save the weights alone, torch.save(model.state_dict(), path)"
            )
        return Global(name)

    def _called(self, name, arguments):
        if not isinstance(name, Global) or not isinstance(arguments, tuple):
            raise TypeError("a call of what is no function")
        if name == ORDERED_DICT and not arguments:
            return {}
        if name == TENSOR:
            return self.make_tensor(*arguments[:4])
        if name == PARAMETER:
            return arguments[0]
        raise TypeError(f"a call of {name} with {len(arguments)} arguments")


def _storage(identity) -> Storage:
    kind, dtype, key, _, count = identity
    module, _, name = dtype.partition(" ") if isinstance(dtype, Global) else ("", "", "")
    if kind != "storage" or module != "torch" or name not in STORAGES:
        raise ValueError("something that is not a tensor's storage")
    return Storage(STORAGES[name], str(key), int(count))
