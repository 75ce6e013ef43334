"""Queries that the cluster's admin wrote, and the arguments that users give them.

Comes in: the text of NORIA_QUERY_TEMPLATES (chart values, as JSON) and strings of users. Goes out: a
source's address and a query. Invariants: no user names a source or writes a query; an argument is a string
inside double quotes, escaped, or a number or duration outside of them, and can be nothing else there,
whatever a user writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from noria_operator.domain.chart_values import Json, entries_of
from noria_operator.domain.metric_sources import Source
from noria_operator.domain.notification_targets import checked_url

BUILT_IN: Final = (
    *("namespace", "deployment", "model"),
    *("champion", "championRevision", "challenger", "challengerRevision"),
)
"""What every query may use: labels of the rollout that it is asked for. No user says what they are."""
_ARGUMENT = re.compile(r"[a-zA-Z][a-zA-Z0-9]{0,62}")
_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_TOKEN = re.compile(r"\\.|\"|=~|!~|\{\{[^{}]*\}\}|\S", re.DOTALL)
_KEYS = {"name", "address", "source", "query", "args"}


class InvalidArgument(ValueError):
    """An argument that does not fit its template; the message says what to write instead."""


class ArgumentType(StrEnum):
    """What an argument may be, and so where it may stand."""

    LABEL = "label"
    """The value of a label, between double quotes."""
    NUMBER = "number"
    """A decimal number."""
    DURATION = "duration"
    """A duration of PromQL such as 5m."""


_VALUES: Final = {
    ArgumentType.NUMBER: (re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?"), "a decimal such as 0.05"),
    ArgumentType.DURATION: (re.compile(r"([0-9]{1,5}(ms|s|m|h|d|w)){1,4}"), "a duration such as 5m"),
    ArgumentType.LABEL: (
        re.compile(r"[^\x00-\x1f\x7f]{0,256}"),
        "at most 256 letters without control characters",
    ),
}


@dataclass(frozen=True, slots=True)
class Template:
    """A query with places `{{name}}` for arguments, and where it is asked."""

    name: str
    source: Source
    query: str
    args: Mapping[str, ArgumentType]

    def render(self, given: Mapping[str, str], built_in: Mapping[str, str]) -> str:
        """The query to ask; raises `InvalidArgument`."""
        if missing := self.args.keys() - given.keys():
            raise InvalidArgument(f"template {self.name} needs args {', '.join(sorted(missing))}")
        if unknown := given.keys() - self.args.keys():
            raise InvalidArgument(f"template {self.name} has no args {', '.join(sorted(unknown))}")
        for name, value in given.items():
            pattern, wanted = _VALUES[self.args[name]]
            if not pattern.fullmatch(value):
                raise InvalidArgument(f"args.{name} of template {self.name} must be {wanted}")
        values = {**given, **built_in}
        parts, end = [], 0
        for place in _places(self.query):
            value = values[place.argument]
            if place.quoted:
                value = escaped(re.escape(value) if place.pattern else value)
            parts += [self.query[end : place.start], value]
            end = place.end
        return "".join([*parts, self.query[end:]])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an argument stands: between double quotes or not, and whether they hold a regular expression."""

    argument: str
    start: int
    end: int
    quoted: bool
    pattern: bool


def templates_of(text: str, sources: Mapping[str, Source] | None = None) -> dict[str, Template]:
    """Read the JSON list; raises `InvalidEntry`."""
    return entries_of(text, "templates", _KEYS, partial(_template, sources or {}))


def _template(sources: Mapping[str, Source], name: str, found: Json) -> Template:
    query = found.get("query")
    if not isinstance(query, str) or not query.strip():
        raise ValueError("query is missing")
    source = _source(found, sources)
    args = {str(key): ArgumentType(value) for key, value in (found.get("args") or {}).items()}
    for argument in args:
        if not _ARGUMENT.fullmatch(argument) or argument in BUILT_IN:
            raise ValueError(f"no argument can be called {argument!r}")
    _check(query, args)
    return Template(name, source, query, args)


def _source(found: Json, sources: Mapping[str, Source]) -> Source:
    if found.get("source") is None:
        return Source("", checked_url(str(found.get("address") or "")).rstrip("/"))
    if found.get("address"):
        raise ValueError("set one of address and source")
    if found["source"] not in sources:
        raise ValueError(f"there is no source {found['source']!r}; name it in metricSources")
    return sources[found["source"]]


def _check(query: str, args: Mapping[str, ArgumentType]) -> None:
    """Every place has an argument of a type that can do no harm there."""
    if "'" in query or "`" in query or "#" in query:
        raise ValueError("write strings in double quotes, and no comments")
    places = list(_places(query))
    if len(places) != query.count("{{"):
        raise ValueError("write a place for an argument as {{name}}")
    for place in places:
        kind = ArgumentType.LABEL if place.argument in BUILT_IN else args.get(place.argument)
        if kind is None:
            raise ValueError(f"{{{{{place.argument}}}}} is not among args")
        if place.quoted != (kind is ArgumentType.LABEL):
            where = "between double quotes" if kind is ArgumentType.LABEL else "outside of quotes"
            raise ValueError(f"{{{{{place.argument}}}}} is a {kind} and belongs {where}")


def _places(query: str) -> Iterator[_Place]:
    quoted, pattern, before = False, False, ""
    for token in _TOKEN.finditer(query):
        text = token[0]
        if text == '"':
            quoted = not quoted
            pattern = quoted and before in ("=~", "!~")
        elif match := _PLACE.fullmatch(text):
            yield _Place(match[1], token.start(), token.end(), quoted, pattern)
        before = text


def escaped(value: str) -> str:
    """As it stands in a string of PromQL, which is one of Go."""
    return value.replace("\\", "\\\\").replace('"', '\\"')
