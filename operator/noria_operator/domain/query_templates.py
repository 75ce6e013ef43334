"""Queries that the cluster's admin wrote, and the arguments that users give them.

Comes in: the text of NORIA_QUERY_TEMPLATES (chart values, as JSON) and strings of users. Goes out: a
source's address and a query. Invariants: no user names a source or writes a query; an argument is a string
inside double quotes, escaped, or a number or duration outside of them, and can be nothing else there,
whatever a user writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from noria_operator.domain.metric_sources import Source
from noria_operator.domain.notification_targets import NAME, InvalidTarget, checked_url

BUILT_IN: Final = (
    *("namespace", "deployment", "model"),
    *("champion", "championRevision", "challenger", "challengerRevision"),
)
"""What every query may use: labels of the rollout that it is asked for. No user says what they are."""
_ARGUMENT = re.compile(r"[a-zA-Z][a-zA-Z0-9]{0,62}")
_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_TOKEN = re.compile(r"\\.|\"|=~|!~|\{\{[^{}]*\}\}|\S", re.DOTALL)
_KEYS = {"name", "address", "source", "query", "args"}


class InvalidTemplate(ValueError):
    """A template that cannot be asked; the message names it and says what is wrong."""


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
    """Read the JSON list; raises `InvalidTemplate`."""
    try:
        found = json.loads(text or "[]")
    except ValueError as error:
        raise InvalidTemplate(f"it is no JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidTemplate("it is no list of templates")
    templates = {one.name: one for one in (_template(one, sources or {}) for one in found)}
    if len(templates) < len(found):
        raise InvalidTemplate("two templates have one name; give each its own")
    return templates


def _template(found: dict[str, Any], sources: Mapping[str, Source]) -> Template:
    name, query = found.get("name"), found.get("query")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidTemplate(f"name {name!r} is no DNS label")
    if unknown := found.keys() - _KEYS:
        raise InvalidTemplate(f"{name}: {', '.join(sorted(unknown))} is not known")
    if not isinstance(query, str) or not query.strip():
        raise InvalidTemplate(f"{name}: query is missing")
    try:
        source = _source(found, sources)
        args = {str(key): ArgumentType(value) for key, value in (found.get("args") or {}).items()}
    except (InvalidTarget, ValueError, AttributeError) as error:
        raise InvalidTemplate(f"{name}: {error}") from error
    for argument in args:
        if not _ARGUMENT.fullmatch(argument) or argument in BUILT_IN:
            raise InvalidTemplate(f"{name}: no argument can be called {argument!r}")
    _check(name, query, args)
    return Template(name, source, query, args)


def _source(found: Mapping[str, Any], sources: Mapping[str, Source]) -> Source:
    if found.get("source") is None:
        return Source("", checked_url(str(found.get("address") or "")).rstrip("/"))
    if found.get("address"):
        raise ValueError("set one of address and source")
    if found["source"] not in sources:
        raise ValueError(f"there is no source {found['source']!r}; name it in metricSources")
    return sources[found["source"]]


def _check(name: str, query: str, args: Mapping[str, ArgumentType]) -> None:
    """Every place has an argument of a type that can do no harm there."""
    if "'" in query or "`" in query or "#" in query:
        raise InvalidTemplate(f"{name}: write strings in double quotes, and no comments")
    places = list(_places(query))
    if len(places) != query.count("{{"):
        raise InvalidTemplate(f"{name}: write a place for an argument as {{{{name}}}}")
    for place in places:
        kind = ArgumentType.LABEL if place.argument in BUILT_IN else args.get(place.argument)
        if kind is None:
            raise InvalidTemplate(f"{name}: {{{{{place.argument}}}}} is not among args")
        if place.quoted != (kind is ArgumentType.LABEL):
            where = "between double quotes" if kind is ArgumentType.LABEL else "outside of quotes"
            raise InvalidTemplate(f"{name}: {{{{{place.argument}}}}} is a {kind} and belongs {where}")


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
