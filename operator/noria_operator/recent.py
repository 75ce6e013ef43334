"""What was used last, up to a bound.

Comes in: entries. Goes out: the same, as a mapping. Invariant: there are never more than `most`, and never
more in them than `room`; the one that was neither written nor `used` for longest goes first, and stands
first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, overload

Key = TypeVar("Key")
Value = TypeVar("Value")
Other = TypeVar("Other")


class Recent(Generic[Key, Value]):
    """At most so many entries and, where `size` tells what is in one, in all of them at most `room`."""

    def __init__(self, most: int, *, size: Callable[[Value], int] = lambda _: 0, room: int = 0) -> None:
        self._most, self._size, self._room = most, size, room
        self._held: dict[Key, Value] = {}
        self.size = 0
        """Of all entries."""

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._held)

    def __setitem__(self, key: Key, value: Value) -> None:
        self._drop(key)
        self._held[key] = value
        self.size += self._size(value)
        while len(self._held) > self._most or self.size > self._room:
            self._drop(next(iter(self._held)))

    @overload
    def get(self, key: Key) -> Value | None: ...
    @overload
    def get(self, key: Key, default: Other) -> Value | Other: ...
    def get(self, key: Key, default: Other | None = None) -> Value | Other | None:
        """The entry, which stays where it stands, or else the default."""
        return self._held.get(key, default)

    def used(self, key: Key) -> Value | None:
        """The entry, which is the last one to go from now on."""
        if key not in self._held:
            return None
        found = self._held[key] = self._held.pop(key)
        return found

    def forget(self, gone: Callable[[Key], bool]) -> None:
        """Take these away."""
        for key in [key for key in self._held if gone(key)]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        if key in self._held:
            self.size -= self._size(self._held.pop(key))
