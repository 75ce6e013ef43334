"""Scalar types of the API: durations, decimals, quantities, names (locations have a module of their own).

Comes in: strings on the wire. Goes out: `timedelta`, `Decimal` and bounded strings in Python, and back.
Invariant: what parses here matches the pattern that the CRD shows, and what is written parses again to the
same value.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal as PythonDecimal
from decimal import InvalidOperation
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from noria_operator.api.schema import Rule


def _fullmatch(pattern: str, text: str) -> re.Match[str] | None:
    """Whether the whole text matches an anchored pattern, whose \\d is 0 to 9, as it is to the API server."""
    return re.fullmatch(pattern[1:-1], text, re.ASCII)


# -- durations (GEP-2257) --------------------------------------------------------------------------
DURATION_PATTERN: Final = r"^(\d{1,5}(h|ms?|s)){1,4}$"
_DURATION_PART: Final = re.compile(r"(\d{1,5})(ms|h|m|s)")
_UNITS: Final = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_ZERO: Final = timedelta()


def parse_duration(text: str) -> timedelta:
    """`1h30m` → timedelta. Raises ValueError for what GEP-2257 does not allow (signs, fractions, days)."""
    if not _fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration: write whole h, m, s or ms, for example 90s or 1h30m")
    return sum((int(count) * _UNITS[unit] for count, unit in _DURATION_PART.findall(text)), _ZERO)


def format_duration(value: timedelta) -> str:
    """timedelta → the shortest GEP-2257 text, `0s` for nothing; below a millisecond is cut off."""
    rest = value // _UNITS["ms"]
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _read_duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("duration", "must be a string such as 90s or 6h")
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{message}", {"message": str(error)}) from error


Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": 24, "pattern": DURATION_PATTERN}),
]
"""A Gateway API duration (GEP-2257): `90s`, `6h`, `1h30m`; may be `0s`."""

PositiveDuration = Annotated[
    Duration,
    Rule(
        cel="duration(self) > duration('0s')",
        message="must be longer than 0s",
        holds=lambda value: value > _ZERO,
    ),
]

HOUR_AT_MOST: Final = Rule(
    cel="duration(self) >= duration('1s') && duration(self) <= duration('1h')",
    message="must be between 1s and 1h",
    holds=lambda value: timedelta(seconds=1) <= value <= timedelta(hours=1),
)
"""A period at which something is done again and again while a person may watch."""

# -- decimals --------------------------------------------------------------------------------------
_DECIMAL_BODY: Final = r"\d{1,15}(\.\d{1,15})?"
DECIMAL_PATTERN: Final = f"^-?{_DECIMAL_BODY}$"
UNSIGNED_DECIMAL_PATTERN: Final = f"^{_DECIMAL_BODY}$"
PROBABILITY_PATTERN: Final = r"^0\.0{0,9}[1-9][0-9]{0,5}$"
_RESOLUTION: Final = PythonDecimal("1e-15")
_DIGITS: Final = 15


def format_decimal(value: PythonDecimal | float) -> str:
    """Number → decimal text without exponent, at most 15 digits after the dot.

    Raises ValueError for NaN, infinities and 1e15 or more.
    """
    number = value if isinstance(value, PythonDecimal) else PythonDecimal(repr(value))
    if number.is_finite() and number.adjusted() >= _DIGITS:  # "f" writes out every zero of 1e400000000
        raise ValueError(f"{value} is not a finite decimal of at most 15 digits")
    try:
        # A metric below the resolution would else be written as thirty zeros that nobody can read back.
        exponent = number.as_tuple().exponent
        rounded = number.quantize(_RESOLUTION).normalize() if int(exponent) < -15 else number
        text = format(rounded, "f")
    except (InvalidOperation, ValueError) as error:
        raise ValueError(f"{value} is not a finite decimal of at most 15 digits") from error
    if not _fullmatch(DECIMAL_PATTERN, text):
        raise ValueError(f"{value} is not a finite decimal of at most 15 digits")
    return text


def _decimal_reader(pattern: str) -> BeforeValidator:
    def read(value: Any) -> PythonDecimal:
        if isinstance(value, PythonDecimal):
            value = format_decimal(value)
        if not isinstance(value, str):
            raise PydanticCustomError("decimal", 'must be a decimal in quotes such as "0.05"')
        if not _fullmatch(pattern, value):
            raise PydanticCustomError(
                "decimal",
                '{value} must be a decimal in quotes that matches {pattern}, such as "0.05"',
                {"value": repr(value), "pattern": pattern},
            )
        return PythonDecimal(value)

    return BeforeValidator(read)


Decimal = Annotated[
    PythonDecimal,
    _decimal_reader(DECIMAL_PATTERN),
    PlainSerializer(format_decimal, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": 32, "pattern": DECIMAL_PATTERN}),
]
"""A number that people compute with, as a decimal string: `"0.65"`."""

UnsignedDecimal = Annotated[
    PythonDecimal,
    _decimal_reader(UNSIGNED_DECIMAL_PATTERN),
    PlainSerializer(format_decimal, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": 31, "pattern": UNSIGNED_DECIMAL_PATTERN}),
]

Probability = Annotated[
    PythonDecimal,
    _decimal_reader(PROBABILITY_PATTERN),
    PlainSerializer(format_decimal, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": 17, "pattern": PROBABILITY_PATTERN}),
]
"""A share strictly between 0 and 1."""

SHARE_PATTERN: Final = r"^(0(\.\d{1,15})?|1(\.0)?)$"
Share = Annotated[
    PythonDecimal,
    _decimal_reader(SHARE_PATTERN),
    PlainSerializer(format_decimal, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": 17, "pattern": SHARE_PATTERN}),
]
"""A share from 0 to 1."""

# -- times -----------------------------------------------------------------------------------------


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC; whole seconds without a fraction."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[
    datetime,
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

# -- quantities ------------------------------------------------------------------------------------
QUANTITY_PATTERN: Final = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"


def _read_quantity(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return str(value)
    if isinstance(value, str) and len(value) <= 32 and re.fullmatch(QUANTITY_PATTERN[1:-1], value):
        return value
    raise PydanticCustomError(
        "quantity", "{value} is not a quantity: write for example 500m, 2 or 4Gi", {"value": repr(value)}
    )


Quantity = Annotated[
    str,
    BeforeValidator(_read_quantity),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": 0,
            "maxLength": 32,
            "pattern": QUANTITY_PATTERN,
        }
    ),
]
"""A resource quantity as in core/v1: `500m`, `2`, `4Gi`."""

# -- sizes -----------------------------------------------------------------------------------------
SCALE_PATTERN: Final = r"^([1-9][0-9]?|100)%$"


def _read_scale(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000:
        return str(value)
    if isinstance(value, str) and re.fullmatch(SCALE_PATTERN[1:-1], value):
        return value
    raise PydanticCustomError(
        "scale",
        "{value} is no number of pods from 1 to 1000 and no share from 1% to 100%",
        {"value": repr(value)},
    )


Scale = Annotated[
    str,
    BeforeValidator(_read_scale),
    PlainSerializer(lambda value: int(value) if value.isdecimal() else value),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": 1,
            "maximum": 1000,
            "maxLength": 4,
            "pattern": SCALE_PATTERN,
        }
    ),
]
"""Pods as a number, or as a share of others in percent: `3`, `"100%"`."""

# -- keys of maps ----------------------------------------------------------------------------------


def map_keys(pattern: str, message: str) -> Rule:
    """A rule on the keys of a map, which a structural schema cannot bound; `pattern` is anchored."""
    compiled = re.compile(pattern[1:-1])
    return Rule(
        cel=f"self.all(key, key.matches(r'{pattern}'))",
        message=message,
        holds=lambda value: all(compiled.fullmatch(key) for key in value),
    )


# -- names -----------------------------------------------------------------------------------------
LABEL: Final = "[a-z0-9]+(-+[a-z0-9]+)*"
SUBDOMAIN: Final = r"[a-z0-9]+((-+|\.)[a-z0-9]+)*"
"""Labels with dots between them."""
_WORD: Final = "[A-Za-z0-9]+([-_.]+[A-Za-z0-9]+)*"
ModelName = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
"""Begins with a letter and leaves room in 63 characters for a version and a revision."""
DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{LABEL}$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=f"^{SUBDOMAIN}$")]
"""Name of a Secret, ConfigMap, ServiceAccount or claim of the same namespace."""
HostName = Annotated[str, Field(min_length=1, max_length=253, pattern=f"^{SUBDOMAIN}$")]
HeaderName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
MetricName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_]*$")]
Identifier = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
QUALIFIED_NAME_PATTERN: Final = f"^({SUBDOMAIN}/)?{_WORD}$"
LabelValue = Annotated[str, Field(max_length=63, pattern=f"^({_WORD})?$")]
QualifiedName = Annotated[str, Field(min_length=1, max_length=317, pattern=QUALIFIED_NAME_PATTERN)]
QUALIFIED_KEYS: Final = map_keys(
    QUALIFIED_NAME_PATTERN, "keys must be qualified names, for example nvidia.com/gpu or disktype"
)
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")]
Argument = Annotated[str, Field(max_length=8192, pattern=r"^[^\x00]*$")]
"""A word of a command line; NUL cannot be passed to a process."""
Digest = Annotated[
    str, Field(min_length=1, max_length=71, pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")
]
Sha256 = Annotated[str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
