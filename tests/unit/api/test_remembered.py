"""Models that are kept: those of the object as it is, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.api.objects import VERSION

from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.parsing import InvalidSpec, Remembered, parse_as

Json = dict[str, Any]


def version(number: int, *, uid: str = "a") -> Json:
    name = f"{VERSION['spec']['model']}-{number}"
    meta = {"name": name, "namespace": "shop", "uid": uid}
    return {**VERSION, "metadata": meta, "spec": {**VERSION["spec"], "version": number}}


def test_an_object_is_parsed_once_for_each_spec_of_it() -> None:
    remembered = Remembered(ModelVersion)
    first = remembered(version(1) | {"status": {"phase": "Approved"}})
    assert remembered(version(1) | {"status": {"phase": "Rejected"}}) is first
    assert first.status == parse_as(ModelVersion, version(1)).status, "it would be that of another time"
    assert remembered(version(2)).spec.version == 2
    assert remembered(version(3, uid="b")).spec.version == 3


def test_an_object_that_the_api_server_never_had_is_parsed_each_time() -> None:
    remembered = Remembered(ModelVersion)
    assert remembered(version(1, uid="")) is not remembered(version(1, uid=""))
    assert remembered(version(2, uid="")).spec.version == 2


def test_an_object_that_became_invalid_is_not_what_it_was() -> None:
    remembered = Remembered(ModelVersion)
    first = remembered(version(1))
    for _ in range(2):
        with pytest.raises(InvalidSpec):
            remembered({**version(1), "spec": {"model": 3}})
    assert remembered(version(1)).spec == first.spec


def test_so_many_models_are_kept_and_the_one_that_waited_longest_goes() -> None:
    remembered = Remembered(ModelVersion, most=2)
    first, second = remembered(version(1)), remembered(version(2, uid="b"))
    assert remembered(version(1)) is first
    remembered(version(3, uid="c"))
    assert remembered(version(1)) is first
    assert remembered(version(2, uid="b")) is not second
