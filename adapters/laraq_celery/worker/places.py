"""Places: the memory by which a worker's parent and its children agree on which job of a parcel runs.

The child writes the number of each job before it begins, then looks whether it may still begin; the parent takes back,
then reads the number. So both agree without a lock, which a killed child would never let go.
"""

from __future__ import annotations

import mmap
import struct
import threading
import time

#: A place: one byte of the parent's, whether jobs were taken back. Then the child's: how many have begun, and when the
#: last of them did (`time.monotonic()`). Neither writes what is the other's.
_BEGUN = struct.Struct("=B6xd")
_SIZE = 1 + _BEGUN.size

#: How many there are.
PLACES = 1024

_fence = threading.Lock()


class Places:
    """The places of one worker's parcels. Created by its parent before the pool forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PLACES * _SIZE)

    def clear(self, place: int) -> None:
        """Prepare a place for another parcel."""
        offset = place * _SIZE
        self._memory[offset : offset + _SIZE] = bytes(_SIZE)

    def begin(self, place: int, number: int) -> bool:
        """In the child: begin job `number`, counted from 1; False if it was taken back."""
        offset = place * _SIZE
        _BEGUN.pack_into(self._memory, offset + 1, number, time.monotonic())
        with _fence:  # what was written is seen before the next line reads
            pass
        return not self._memory[offset]

    def take_back(self, place: int) -> tuple[int, float]:
        """In the parent: no further job may begin; return how many have begun, and when the last did."""
        self._memory[place * _SIZE] = 1
        with _fence:
            pass
        return self.begun(place)

    def begun(self, place: int) -> tuple[int, float]:
        """How many jobs have begun, and when the last did. The last may have been taken back instead."""
        begun, at = _BEGUN.unpack_from(self._memory, place * _SIZE + 1)
        return begun, at
