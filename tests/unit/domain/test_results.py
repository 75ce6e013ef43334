"""What a Job says about itself is taken only when every field of it is what the contract says."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.results import (
    ResultError,
    evaluation_result,
    fault,
    training_result,
    verification_result,
)

OUTPUT = "pvc://models/flights/0f7ac08d-run"
DIGEST = "sha256:" + "a" * 64
ARTIFACT = {"uri": OUTPUT, "digest": DIGEST, "format": "onnx"}


def message(**changes: Any) -> str:
    return json.dumps(
        {"schema": "noria.result/v1", "artifact": ARTIFACT, "metrics": {"auc": "0.7"}} | changes
    )


def test_a_result_is_read_with_its_claims_as_decimal_strings() -> None:
    found = training_result(message(metrics={"auc": "0.71", "loss": 1e-05, "rows": 12}), OUTPUT)
    assert found.artifact.digest == DIGEST
    assert found.metrics == {"auc": "0.71", "loss": "0.00001", "rows": "12"}


def test_what_a_newer_library_adds_is_read_over() -> None:
    found = training_result(message(novelty=[1], artifact=ARTIFACT | {"novelty": 2}), OUTPUT)
    assert found.artifact.format == "onnx"


def test_a_bundle_in_a_directory_below_the_output_is_taken() -> None:
    assert training_result(message(artifact=ARTIFACT | {"uri": f"{OUTPUT}/best/"}), OUTPUT).artifact.uri


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_message_is_a_missing_result_and_says_what_to_do(text: str) -> None:
    with pytest.raises(ResultError) as caught:
        training_result(text, OUTPUT)
    assert caught.value.reason == "ResultMissing"
    assert "publish()" in caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello", "not JSON"),
        ('"text"', "schema"),
        ("[]", "schema"),
        ("[" * 4000, "nested too deep"),
        ("x" * 4096, "cuts it at 4096"),
        ("x" * 5000, "longer than 4096"),
        (message(schema="noria.result/v9"), "schema"),
        (message(artifact=None), "artifact"),
        (message(artifact=ARTIFACT | {"digest": "sha256:abc"}), "artifact.digest"),
        (message(artifact=ARTIFACT | {"digest": DIGEST.upper()}), "artifact.digest"),
        (message(artifact=ARTIFACT | {"format": "exe"}), "artifact.format"),
        (message(metrics={"auc": "nan"}), "metrics.auc"),
        (message(metrics={"auc": "1e999"}), "metrics.auc"),
        (message(metrics={"auc": "0e999"}), "metrics.auc"),
        (message(metrics={"auc": "1e999999999999"}), "metrics.auc"),
        (message(metrics={"auc": "inf"}), "metrics.auc"),
        (message(metrics={"auc": None}), "metrics.auc"),
        (message(metrics={"auc": True}), "metrics.auc"),
        (message(metrics={"auc": []}), "metrics.auc"),
        (message(metrics={"auc": float("nan")}), "not a finite number"),
        (message(metrics={"a b": "1"}), "metrics"),
        (message(metrics={f"m{n}": n for n in range(65)}), "metrics"),
        (message(data=[{"name": "train", "rows": -1}]), "data.0.rows"),
        (message(data=[{"name": "train", "rows": "12"}]), "data.0.rows"),
        (message(signature={"inputs": [{"name": "x", "datatype": "FLOAT"}]}), "datatype"),
        (message(artifact=ARTIFACT | {"uri": "pvc://models/other"}), "not inside"),
        (message(artifact=ARTIFACT | {"uri": OUTPUT + "-other"}), "not inside"),
        (message(artifact=ARTIFACT | {"uri": f"{OUTPUT}/../steal"}), "not inside"),
        (message(artifact=ARTIFACT | {"uri": "file:///etc/passwd"}), "not inside"),
        (message(artifact=ARTIFACT | {"uri": "s3://models/flights/0f7ac08d-run"}), "not inside"),
    ],
)
def test_a_result_that_is_not_what_it_should_be_says_which_field(text: str, says: str) -> None:
    with pytest.raises(ResultError) as caught:
        training_result(text, OUTPUT)
    assert caught.value.reason == "ResultInvalid"
    assert says in caught.value.message


@pytest.mark.parametrize("number", ["1e20000000", "0e20000000", "-1e20000000", "1e-20000000"])
def test_a_number_of_many_zeros_is_never_written_out(number: str) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(ResultError):
            training_result(message(metrics={"auc": number}), OUTPUT)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_no_message_whatsoever_raises_anything_else(text: str) -> None:
    with pytest.raises(ResultError):
        training_result(text, OUTPUT)
    fault(text)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=4), scalars, max_size=2)


@given(
    st.dictionaries(
        st.sampled_from(["artifact", "metrics", "signature", "speed", "data", "git", "card"]), values
    )
)
def test_any_value_in_any_field_is_taken_or_refused_by_name(changes: dict[str, Any]) -> None:
    try:
        training_result(message(**changes), OUTPUT)
    except ResultError as error:
        assert error.reason == "ResultInvalid"


def scores(**metrics: Any) -> str:
    return json.dumps({"schema": "noria.evaluation/v1", "rows": 9, "digest": DIGEST, "metrics": metrics})


def test_an_evaluation_holds_scores_of_both_or_of_the_challenger_alone() -> None:
    both = evaluation_result(scores(challenger={"auc": "0.7"}, champion={"auc": "0.6"}), champion=True)
    assert both.metrics.champion == {"auc": "0.6"}
    assert both.errors == {}, "of an image of an earlier release"
    document = json.loads(scores(challenger={"auc": "0.7"}, champion={"auc": "0.6"}))
    told = evaluation_result(json.dumps(document | {"errors": {"auc": "0.01"}}), champion=True)
    assert told.errors == {"auc": "0.01"}
    with pytest.raises(ResultError, match="errors"):
        evaluation_result(json.dumps(document | {"errors": {"auc": "NaN"}}), champion=True)
    assert evaluation_result(scores(challenger={"auc": "0.7"}, champion=None), champion=False).rows == 9


def test_an_evaluation_may_tell_slices() -> None:
    document = json.loads(scores(challenger={"auc": "0.7"}, champion=None))
    told = ["sex", "f", 12, "auc", "0.7", None, None]
    found = evaluation_result(json.dumps(document | {"slices": [told], "slicesLeftOut": 3}), champion=False)
    assert (found.slices, found.slices_left_out) == ([tuple(told)], 3)
    for wrong in ([told[:5]], [[*told[:4], "NaN", None, None]], [["", *told[1:]]], "sex", [{"sex": "f"}]):
        with pytest.raises(ResultError, match="slices"):
            evaluation_result(json.dumps(document | {"slices": wrong}), champion=False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (scores(challenger={"auc": "0.7"}, champion=None), "no scores of the champion"),
        (scores(challenger={}, champion={"auc": "1"}), "challenger"),
        (scores(champion={"auc": "1"}), "challenger"),
        (message(), "schema"),
    ],
)
def test_an_evaluation_without_the_scores_that_gates_need_is_refused(text: str, says: str) -> None:
    with pytest.raises(ResultError, match=says):
        evaluation_result(text, champion=True)


def test_a_verification_names_a_digest_or_a_fault() -> None:
    done = json.dumps({"schema": "noria.verification/v1", "digest": DIGEST, "bytes": 12})
    assert verification_result(done).digest == DIGEST
    refused = json.dumps(
        {"schema": "noria.verification/v1", "error": {"reason": "DigestMismatch", "message": "changed"}}
    )
    assert (found := fault(refused)) is not None
    assert found.reason == "DigestMismatch"
    with pytest.raises(ResultError, match="neither"):
        verification_result(json.dumps({"schema": "noria.verification/v1"}))
