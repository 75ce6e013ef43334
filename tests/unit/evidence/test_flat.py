"""A document of counts: refused when it comes, flattened when somebody asks."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.evidence.flat import Flat
from noria_serving.contract import FAMILIES, places_of

ROWS = st.recursive(
    st.integers(0, 9)
    | st.lists(st.integers(0, 9) | st.none() | st.floats(), max_size=2)
    | st.none()
    | st.text(max_size=2),
    lambda nested: st.dictionaries(st.text(max_size=2), nested, max_size=3),
    max_leaves=6,
)


def flattened(body: dict[str, Any]) -> dict[str, Any] | str:
    try:
        return {place: row for name in FAMILIES for place, row in places_of(body, name)}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return "refused"


@pytest.mark.parametrize("family", FAMILIES)
@given(rows=ROWS)
def test_what_is_no_document_is_refused_when_it_comes(family: str, rows: Any) -> None:
    body = {"version": "m-1", "error_units": defaultdict(lambda: 0.5), family: rows}
    wanted = flattened(body)
    try:
        found: Any = Flat(body)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        found = "refused"
    else:
        found = dict(found)
    assert repr(found) == repr(wanted)
