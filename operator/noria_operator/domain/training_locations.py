"""Places where data and bundles lie, and how pods see them.

Comes in: a URI from a spec. Goes out: its parts, the path below a mount, the URI of something inside it.
Invariant: a path never climbs (`..`), so that no object reaches outside the claim or prefix that it
names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from noria_operator.api.locations import FORMS, LOCATION_PATTERN, parse_location

VOLUMES: Final = "/noria/volumes"
"""Claims are mounted at `/noria/volumes/<claim>`."""


class LocationError(ValueError):
    """Not a location that Noria reads or writes; the text says what is allowed."""


@dataclass(frozen=True)
class Location:
    """`root` is the claim, bucket, container or host; `path` has no leading or trailing slash."""

    scheme: str
    root: str
    path: str = ""

    @classmethod
    def parse(cls, uri: str) -> Location:
        """Read a URI; `LocationError` when it is of another kind or climbs."""
        if not re.fullmatch(LOCATION_PATTERN[1:-1], uri):
            # Not the URI itself: what stands before an @ may be a password.
            raise LocationError(f"{_shown(uri)} is not allowed; write {FORMS}")
        parsed = parse_location(uri)
        segments = [segment for segment in parsed.path.split("/") if segment]
        if any(segment in (".", "..") for segment in segments):
            raise LocationError(
                f"{uri[:200]!r} must not hold the segments . or ..; write the path that is meant"
            )
        return cls(parsed.scheme, parsed.root, "/".join(segments))

    @property
    def uri(self) -> str:
        """The canonical URI."""
        return f"{self.scheme}://{self.root}/{self.path}" if self.path else f"{self.scheme}://{self.root}"

    @property
    def claim(self) -> str | None:
        """Name of the PersistentVolumeClaim, for `pvc`."""
        return self.root if self.scheme == "pvc" else None

    @property
    def as_seen(self) -> str:
        """What a pod opens: the path below the mount for `pvc`, else the URI itself."""
        return str(PurePosixPath(VOLUMES, self.root, self.path)) if self.scheme == "pvc" else self.uri

    def below(self, name: str) -> Location:
        """The place `name` inside this one."""
        return replace(self, path=f"{self.path}/{name}" if self.path else name)

    def holds(self, other: Location) -> bool:
        """Whether `other` is this place or lies inside it."""
        if (self.scheme, self.root) != (other.scheme, other.root):
            return False
        return not self.path or other.path == self.path or other.path.startswith(self.path + "/")


def _shown(uri: str) -> str:
    scheme, separator, rest = uri[:200].partition("://")
    return repr(f"{scheme}{separator}{rest.rpartition('@')[2]}")
