"""Templates of queries: what an admin may write, and that no argument says more than it should."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noria_operator.domain.chart_values import InvalidEntry
from noria_operator.domain.query_templates import (
    BUILT_IN,
    InvalidArgument,
    Template,
    templates_of,
)

BUILT = {name: f"the-{name}" for name in BUILT_IN}


def template(query: str, **args: str) -> Template:
    entry = {"name": "t", "address": "http://prometheus:9090/", "query": query, "args": args}
    return templates_of(json.dumps([entry]))["t"]


def test_arguments_and_labels_of_the_rollout_are_filled_in() -> None:
    query = 'sum(rate(x{ns="{{namespace}}", v="{{ challenger }}"}[{{window}}])) > {{limit}}'
    made = template(query, window="duration", limit="number").render(
        {"window": "5m30s", "limit": "-0.5"}, BUILT
    )
    assert made == 'sum(rate(x{ns="the-namespace", v="the-challenger"}[5m30s])) > -0.5'
    assert template("up").source.address == "http://prometheus:9090"


@pytest.mark.parametrize(
    ("query", "value", "made"),
    [
        ('x{a="{{l}}"}', 'b"} or y{c="d', 'x{a="b\\"} or y{c=\\"d"}'),
        ('x{a="{{l}}"}', "b\\", 'x{a="b\\\\"}'),
        ('x{a="{{l}}"}', ".*", 'x{a=".*"}'),
        ('x{a=~"{{l}}"}', ".*", 'x{a=~"\\\\.\\\\*"}'),
        ('x{a !~ "pre-{{l}}-(b|c)"}', "a|b", 'x{a !~ "pre-a\\\\|b-(b|c)"}'),
        ('x{a="c\\"{{l}}"}', '"', 'x{a="c\\"\\""}'),
        ('x{a=~"c", b="{{l}}"}', ".", 'x{a=~"c", b="."}'),
    ],
)
def test_a_label_cannot_leave_its_string_nor_be_a_pattern(query: str, value: str, made: str) -> None:
    assert template(query, l="label").render({"l": value}, BUILT) == made


def test_what_is_filled_in_is_not_looked_at_again() -> None:
    assert template('x{a="{{l}}", b="{{namespace}}"}', l="label").render({"l": "{{namespace}}"}, BUILT) == (
        'x{a="{{namespace}}", b="the-namespace"}'
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs args l, n, w"),
        ({"l": "", "n": "1", "w": "5m", "namespace": "other"}, "has no args namespace"),
        ({"l": "a\nb", "n": "1", "w": "5m"}, "args.l of template t must be at most 256"),
        ({"l": "a", "n": "1e9", "w": "5m"}, "args.n of template t must be a decimal"),
        ({"l": "a", "n": "1", "w": "5m]) or up[1m"}, "args.w of template t must be a duration"),
        ({"l": "a", "n": "1\n", "w": "5m"}, "args.n"),
    ],
)
def test_arguments_that_do_not_fit_say_what_to_write(given: dict[str, str], message: str) -> None:
    one = template('x{a="{{l}}"}[{{w}}] > {{n}}', l="label", n="number", w="duration")
    with pytest.raises(InvalidArgument, match=message.replace(".", r"\.")):
        one.render(given, BUILT)


GOOD = {"name": "t", "address": "http://p", "query": "up"}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("{", "no JSON"),
        ("{}", "no list"),
        ([GOOD, GOOD], "two templates"),
        ([{**GOOD, "name": "A b"}], "no DNS label"),
        ([{**GOOD, "sql": "x"}], "sql is not known"),
        ([{**GOOD, "query": " "}], "query is missing"),
        ([{**GOOD, "address": "file:///etc/passwd"}], "no http:// or https:// address"),
        ([{**GOOD, "args": {"a": "text"}}], "text"),
        ([{**GOOD, "args": {"namespace": "label"}}], "no argument can be called 'namespace'"),
        ([{**GOOD, "query": "x{a='{{b}}'}", "args": {"b": "label"}}], "double quotes"),
        ([{**GOOD, "query": "x{a={{b}}}", "args": {"b": "label"}}], "belongs between double quotes"),
        ([{**GOOD, "query": 'x{a="{{b}}"}', "args": {"b": "number"}}], "belongs outside of quotes"),
        ([{**GOOD, "query": "x[{{namespace}}]"}], "belongs between double quotes"),
        ([{**GOOD, "query": "x[{{w}}]"}], "{{w}} is not among args"),
        ([{**GOOD, "query": 'x{a="{{"}'}], "write a place"),
        ([{**GOOD, "query": 'x # "\n{a="{{namespace}}"}'}], "no comments"),
    ],
)
def test_templates_that_cannot_be_asked_say_why(found: Any, message: str) -> None:
    with pytest.raises(InvalidEntry) as error:
        templates_of(found if isinstance(found, str) else json.dumps(found))
    assert message in str(error.value)


def test_no_templates_are_no_mistake() -> None:
    assert templates_of("") == {}
