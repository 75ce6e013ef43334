"""Names of children stay valid and stable."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.api import names

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


model_names = st.from_regex(r"\A[a-z]([-a-z0-9]{0,38}[a-z0-9])?\Z")


@given(model_names, st.integers(1, 2**31 - 1), st.from_regex(r"\A[0-9a-f]{10}\Z"))
def test_names_of_children_are_dns_labels(name: str, version: int, revision: str) -> None:
    for child in (
        names.revision_name(name, version, revision),
        names.feedback_secret_name(name, "0f7ac08d-0000-4000-8000-000000000000", version),
        names.model_version_name(name, version),
    ):
        assert LABEL.fullmatch(child)
    assert names.version_number(names.model_version_name(name, version)) == version


def test_long_names_that_share_their_beginning_stay_different() -> None:
    one, two = names.fit("a" * 70 + "1"), names.fit("a" * 70 + "2")
    assert one != two
    assert len(one) == len(two) == 63


@pytest.mark.parametrize("name", ["short", "a" * 63])
def test_a_name_that_fits_is_left_alone(name: str) -> None:
    assert names.fit(name) == name


@pytest.mark.parametrize("name", ["m-v4", "m", "m-", "m-4-a", "4-m"])
def test_a_name_that_no_version_of_a_model_has_has_no_number(name: str) -> None:
    """A spec may name anything."""
    assert names.version_number(name) == 0
