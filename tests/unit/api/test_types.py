"""Durations, decimals, quantities and locations: what is written can be read, and nothing else."""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from noria_operator.api import types
from noria_operator.api.locations import ParsedLocation, parse_location
from noria_operator.api.types import (
    DECIMAL_PATTERN,
    DURATION_PATTERN,
    format_decimal,
    format_duration,
    format_time,
    parse_duration,
)

DECIMAL: TypeAdapter[Decimal] = TypeAdapter(types.Decimal)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0s", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("250ms", timedelta(milliseconds=250)),
        ("1h2m3s4ms", timedelta(hours=1, minutes=2, seconds=3, milliseconds=4)),
        ("99999h", timedelta(hours=99999)),
    ],
)
def test_a_duration_is_read(text: str, value: timedelta) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    "text", ["", "5", "-5m", "1.5h", "P1D", "1d", "1e9h", "100000h", "1h1h1h1h1h", "1h\n", "٣h"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 90s or 1h30m"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(hours=99999)))
def test_a_written_duration_reads_back_to_the_millisecond(value: timedelta) -> None:
    text = format_duration(value)
    assert re.fullmatch(DURATION_PATTERN, text)
    assert timedelta() <= value - parse_duration(text) < timedelta(milliseconds=1)


@given(st.decimals(min_value=-(10**14), max_value=10**14, allow_nan=False, places=9))
def test_a_written_decimal_reads_back(value: Decimal) -> None:
    assert DECIMAL.validate_python(format_decimal(value)) == value


@given(st.floats(min_value=-1e14, max_value=1e14))
def test_a_float_is_written_without_exponent_and_to_fifteen_digits(value: float) -> None:
    text = format_decimal(value)
    assert re.fullmatch(DECIMAL_PATTERN, text)
    assert float(text) == pytest.approx(value, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1e15, *map(Decimal, ("NaN", "-Infinity", "1e999999999999"))]
)
def test_a_number_that_is_no_decimal_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a finite decimal"):
        format_decimal(value)


@pytest.mark.parametrize(
    "text", ["", "1e3", "NaN", "+1", ".5", "1.", "0x1", "1,5", "1" * 16, "0." + "1" * 16, "٣"]
)
def test_what_is_no_decimal_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r'such as "0\.05"'):
        DECIMAL.validate_python(text)


def test_a_time_is_written_in_utc() -> None:
    assert format_time(datetime(2026, 1, 31, 8, tzinfo=UTC)) == "2026-01-31T08:00:00Z"
    berlin = timezone(timedelta(hours=1))
    assert format_time(datetime(2026, 1, 31, 8, 0, 0, 5000, tzinfo=berlin)) == "2026-01-31T07:00:00.005000Z"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("pvc://models/flight-delay", ParsedLocation("pvc", "models", "flight-delay")),
        ("pvc://models", ParsedLocation("pvc", "models", "")),
        ("s3://lake/a/b/", ParsedLocation("s3", "lake", "a/b")),
        ("gs://lake/a", ParsedLocation("gs", "lake", "a")),
        ("az://lake/a", ParsedLocation("az", "lake", "a")),
        (
            "https://m.example:8443/a/4.tgz",
            ParsedLocation("https", "m.example:8443", "a/4.tgz"),
        ),
        ("oci://ghcr.io/team/model:4", ParsedLocation("oci", "ghcr.io", "team/model:4")),
    ],
)
def test_a_location_is_taken_apart(uri: str, parts: ParsedLocation) -> None:
    assert parse_location(uri) == parts


@pytest.mark.parametrize("uri", ["http://a/b", "pvc:///a", "s3://", "/a/b", ""])
def test_what_is_no_location_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="is not a location"):
        parse_location(uri)


@pytest.mark.parametrize(
    ("kind", "as_kubernetes_has_it"),
    [
        (types.DnsLabel, r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"),
        (types.ObjectName, r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"),
        (types.LabelValue, r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"),
        (
            types.QualifiedName,
            r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]",
        ),
    ],
)
def test_names_are_those_of_kubernetes(kind: Any, as_kubernetes_has_it: str) -> None:
    name: TypeAdapter[str] = TypeAdapter(kind)
    for size in range(1, 6):
        for text in map("".join, product("aZ-._/", repeat=size)):
            known = re.fullmatch(as_kubernetes_has_it, text)
            with nullcontext() if known else pytest.raises(ValidationError):
                name.validate_python(text)
