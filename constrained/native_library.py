"""The C++ of this package (csrc/), built at first use and called by ctypes without the GIL."""

from __future__ import annotations

import ctypes
import weakref
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sglang_lang.kernels.native import build_shared_library

from .vocabulary import Bitmask

SOURCE = Path(__file__).parent / "csrc" / "grammar.cpp"

_INT, _LONG, _POINTER, _TEXT = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
_SIGNATURES = {
    "vocabulary_new": (_POINTER, (*[_POINTER] * 3, _INT, _POINTER, _INT, _INT)),
    "vocabulary_set_tokens": (None, (_POINTER, _TEXT, _POINTER, _INT, _POINTER, _INT)),
    "vocabulary_set_limits": (None, (_POINTER, _LONG, _LONG)),
    "vocabulary_free": (None, (_POINTER,)),
    "languages_new": (_POINTER, (_POINTER,)),
    "languages_free": (None, (_POINTER,)),
    "languages_automaton": (_POINTER, (_POINTER,)),
    "languages_add": (_INT, (_POINTER, _POINTER, _INT, _POINTER)),
    "languages_emptiness": (_INT, (_POINTER, _INT)),
    "languages_matches": (_INT, (_POINTER, _INT, _TEXT, _INT)),
    "languages_count_words": (_LONG, (_POINTER, _INT, _LONG)),
    "languages_after": (_INT, (_POINTER, _INT, _TEXT, _INT)),
    "languages_prepare": (None, (_POINTER, _INT)),
    "languages_num_nodes": (_LONG, (_POINTER,)),
    "machine_new": (_POINTER, (_POINTER,)),
    "machine_free": (None, (_POINTER,)),
    "machine_add_literals": (_POINTER, (_POINTER, _TEXT, _POINTER, _INT)),
    "machine_set_place": (None, (_POINTER, _INT, _POINTER, _INT, _INT, _POINTER, _INT)),
    "machine_set_targets": (None, (_POINTER, _INT, _INT, _POINTER)),
    "machine_set_captured": (None, (_POINTER, _INT, _INT, _INT, _POINTER)),
    "machine_start": (_INT, (_POINTER, _INT)),
    "machine_advance": (_INT, (_POINTER, _INT, _TEXT, _INT)),
    "machine_advance_token": (_INT, (_POINTER, _INT, _INT)),
    "machine_accepting": (_INT, (_POINTER, _INT)),
    "machine_finished": (_INT, (_POINTER, _INT)),
    "machine_forced": (_INT, (_POINTER, _INT, _TEXT)),
    "machine_fill": (_INT, (_POINTER, _INT, _POINTER)),
    "machines_fill": (_INT, (*[_POINTER] * 3, _INT)),
    "machine_take_needs": (_INT, (_POINTER, _POINTER, _INT)),
    "machine_captured_text": (_INT, (_POINTER, _INT, _TEXT, _INT)),
    "machine_memory_bytes": (_LONG, (_POINTER,)),
}


def address_of(values: npt.NDArray[np.int32]) -> int:
    """Where a writable, contiguous array begins; ``values.ctypes.data`` takes thrice as long."""
    return ctypes.addressof(ctypes.c_char.from_buffer(values.data))


class RowAddresses:
    """Where the rows of a bitmask begin, remembered for the one asked for last.

    To find out takes as long as to write a mask.

    Args:
        row_len: int32 words that are written to a row.
    """

    def __init__(self, row_len: int) -> None:
        self._row_len = row_len
        self._recent: tuple[weakref.ref[Bitmask] | None, int, int, int] = (None, 0, 0, 0)

    def address(self, bitmask: Bitmask, row: int) -> int:
        """The address of a row.

        Raises:
            IndexError: there is no such row.
            ValueError: masks of this length cannot be written there.
        """
        known, first, stride, rows = self._recent
        if known is None or known() is not bitmask:
            first, stride, rows = self._look_at(bitmask)
        if not 0 <= row < rows:
            raise IndexError(f"row {row} of a bitmask of {rows} rows")
        return first + row * stride

    def _look_at(self, bitmask: Bitmask) -> tuple[int, int, int]:
        if bitmask.ndim != 2 or bitmask.shape[1] < self._row_len or bitmask.dtype != np.int32:
            raise ValueError(
                f"a bitmask of {self._row_len} int32 words a row is needed, not "
                f"{bitmask.dtype} {list(bitmask.shape)}"
            )
        found = (address_of(bitmask), bitmask.strides[0], len(bitmask))
        self._recent = (weakref.ref(bitmask), *found)
        return found


@lru_cache(1)
def load_library() -> ctypes.CDLL:
    """The compiled library, built at first use.

    Raises:
        NoCompilerError: there is no compiler; what is in Python serves then.
        BuildError: the compiler refused the sources.
    """
    library = ctypes.CDLL(str(build_shared_library("constrained", [SOURCE])))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
