"""What the arguments of `noria-server serve` mean; the server that they start is tested as a process."""

from __future__ import annotations

import pytest

from noria_serving.bundle import Bundle
from noria_serving.cli.serve import models
from noria_serving.errors import NoriaError
from noria_serving.main import main
from noria_serving.payload.settings import LogSettings


def named(specs: list[str]) -> list[tuple[str, str, str]]:
    return [(model.model, model.number, model.bundle) for model in models(specs)]


def test_a_bundle_goes_by_its_own_name_and_versions_count_up(matrix_bundle: Bundle) -> None:
    path = str(matrix_bundle.path)
    assert named([path, path, f"other={path}"]) == [
        ("m", "1", path),
        ("m", "2", path),
        ("other", "1", path),
    ]


def test_versions_that_are_given_are_kept_free() -> None:
    specs = ["a@2=/x", "a=/y", "a=/z", "a@blue=/w", "b@1=s3://c/d=e"]
    assert [entry[:2] for entry in named(specs)] == [
        ("a", "2"), ("a", "1"), ("a", "3"), ("a", "blue"), ("b", "1"),
    ]  # fmt: skip
    assert named(specs)[4][2] == "s3://c/d=e"
    assert models(["a@2=/x"])[0].version == "a-2"


def test_one_version_cannot_be_two_bundles() -> None:
    with pytest.raises(NoriaError, match="same version"):
        models(["a@2=/x", "a@2=/y"])


def test_each_model_leaves_out_what_is_its_own_and_what_is_everyones() -> None:
    asked = LogSettings("/log", redact=("a:age", "b:city", "id", "unit:zone"))
    a, b = models(["a=/x", "b=/y"], payload_log=asked)
    assert (a.payload_log, b.payload_log) == (
        LogSettings("/log", redact=("age", "id", "unit:zone")),
        LogSettings("/log", redact=("city", "id", "unit:zone")),
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["serve", "/there/is/nothing"], 1, "no bundle at /there/is/nothing"),
        (["serve"], 2, "BUNDLE"),
        (["serve", "m=/x", "--http-port", "99999"], 2, "is not a port"),
        (["serve", "m=/x", "--drain-seconds", "nan"], 2, "not negative"),
        (["serve", "m=/x", "--max-body-bytes", "-1"], 2, "not negative"),
        (["dance"], 2, "invalid choice"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == code
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
