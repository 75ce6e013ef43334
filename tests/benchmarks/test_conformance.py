"""The page of the conformance run, the correction of the public document, and schemathesis's report."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import partial

import httpx
import pytest
from benchmarks.conformance import document, fuzz, probes
from benchmarks.conformance.page import Found, faults, markdown

GOOD = fuzz.Outcome(frozenset({"GET /v2"}), 5, ())
BAD = fuzz.Outcome(frozenset({"GET /v2"}), 7, ("GET /v2: not_a_server_error: 500",))
PROBES = (probes.Probe("unknown path", "404 {error}", lambda asker: ""),)
OURS = Found(
    {"curl": {"infer": None, "http_1_0": None}},
    {"unknown path": "404 {error}"},
    {"theirs": GOOD, "ours": GOOD},
)
PEER = Found(
    {"curl": {"infer": None, "http_1_0": "no\nanswer"}},
    {"unknown path": "404 {detail}"},
    {"theirs": BAD, "ours": GOOD},
)


def test_the_page_shows_servers_side_by_side_and_marks_what_is_not_right() -> None:
    page = markdown({"Noria": OURS, "Peer": PEER}, PROBES, "About.")
    assert "| client | Noria | Peer |\n| --- | --- | --- |\n| curl | 2 of 2 | **1 of 2** |\n" in page
    assert "| unknown path | 404 {error} | 404 {error} | **404 {detail}** |" in page
    assert (
        "| document |  | Noria | Peer |\n| --- | --- | --- | --- |\n| theirs | failures | 0 | 1 |\n"
        "| theirs | operations | 1 | 1 |\n| theirs | requests | 5 | 7 |\n| ours | failures | 0 | 0 |\n"
    ) in page
    assert "Peer, by theirs:\n\n```text\nGET /v2: not_a_server_error: 500\n```" in page
    assert "Peer:\n\n```text\ncurl http_1_0: no answer\n```" in page
    assert "Noria:" not in page
    assert faults(OURS, PROBES) == []
    assert len(faults(PEER, PROBES)) == 3


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (200, '{"a": 1}', "200"),
        (200, '{"version": null, "outputs": [{"parameters": null}]}', "200, null: parameters, version"),
        (200, "", "200 no body"),
        (422, '{"detail": [null]}', "422 {detail}"),
        (400, '{"error": "x"}', "400 {error}"),
    ],
)
def test_an_answer_in_brief(status: int, content: str, expected: str) -> None:
    assert probes.brief(httpx.Response(status, content=content)) == expected


def test_an_error_that_is_no_json_is_told_by_its_type() -> None:
    response = httpx.Response(500, text="Internal Server Error")
    assert probes.brief(response) == "500 text/plain"


def test_the_correction_pins_names_and_touches_no_other_answer_than_404_and_500() -> None:
    parameter = {"name": "model_name", "in": "path", "required": True, "schema": {"type": "string"}}
    answers = {"200": {"description": "OK"}}
    published = {
        "paths": {
            "/v2": {"get": {"responses": answers | {"400": {}}}},
            "/v2/models/{model_name}/ready": {"parameters": [parameter], "get": {"responses": answers}},
            "/v2/models/{model_name}": {
                "parameters": [parameter], "get": {"responses": answers | {"404": {}}},
            },
            "/v2/models/{model_name}/infer": {
                "parameters": [parameter], "post": {"responses": answers | {"500": {}}},
            },
            "/v2/models/{model_name}/generate": {"post": {}},
        },
        "components": {"schemas": {"TensorData": {}, "InferenceErrorResponse": {}}},
    }  # fmt: skip
    before = json.dumps(published)
    mended = document.corrected(published, model="iris", version="1")
    assert json.dumps(published) == before
    paths = mended["paths"]
    responses = {path: next(iter(set(item) & {"get", "post"})) for path, item in paths.items()}
    statuses = {path: sorted(paths[path][method]["responses"]) for path, method in responses.items()}
    assert statuses == {
        "/v2": ["200", "400"],
        "/v2/models/{model_name}/ready": ["200", "404"],
        "/v2/models/{model_name}": ["200", "404"],
        "/v2/models/{model_name}/infer": ["200", "404"],
    }
    assert paths["/v2/models/{model_name}"]["get"]["responses"]["404"] == {}
    assert paths["/v2/models/{model_name}"]["parameters"][0]["schema"]["enum"] == ["iris"]
    assert mended["components"]["schemas"]["InferenceErrorResponse"] == {"required": ["error"]}


def test_a_failure_counts_once_an_operation_and_check() -> None:
    failed = {"name": "not_a_server_error", "failure_info": {"failure": {"message": "500\n\n  no"}}}
    recorder = {
        "label": "GET /v2", "interactions": {"a": {}, "b": {}, "c": {}},
        "checks": {"a": [failed, {"name": "x"}], "b": [failed]},
    }  # fmt: skip
    events = [{"ScenarioFinished": {"recorder": recorder}}] * 2 + [{"EngineFinished": {}}]
    outcome = fuzz.read([json.dumps(event) for event in events])
    assert outcome.failures == ("GET /v2: not_a_server_error: 500\n\n  no",)
    assert (outcome.operations, outcome.requests) == ({"GET /v2"}, 6)


def test_the_protocols_own_document_gets_the_paths_and_answers_that_its_text_has() -> None:
    def named(name: str) -> dict[str, object]:
        return {"name": name, "in": "path", "schema": {"type": "string"}}

    ready = "/v2/models/${MODEL_NAME}/versions/${MODEL_VERSION}/ready"
    published = {
        "paths": {
            "/v2/": {"get": {"operationId": "server", "responses": {"200": {}}}},
            ready: {
                "parameters": [named("MODEL_NAME"), named("MODEL_VERSION")],
                "get": {"operationId": "ready", "responses": {"200": {}}},
            },
        },
        "components": {"schemas": {"inference_error_response": {"type": "object"}}},
    }
    found = document.completed(published, model="iris", version="1")
    paths = found["paths"]
    versioned = "/v2/models/{MODEL_NAME}/versions/{MODEL_VERSION}/ready"
    assert set(paths) == {"/v2/", versioned, "/v2/models/{MODEL_NAME}/ready"}
    assert [p["schema"]["enum"] for p in paths[versioned]["parameters"]] == [["iris"], ["1"]]
    assert [p["name"] for p in paths["/v2/models/{MODEL_NAME}/ready"]["parameters"]] == ["MODEL_NAME"]
    assert "404" in paths[versioned]["get"]["responses"]
    assert "404" not in paths["/v2/"]["get"]["responses"]
    assert found["components"]["schemas"]["inference_error_response"]["required"] == ["error"]
    assert ready in published["paths"]


def test_all_servers_are_asked_by_both_documents_for_the_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    published = {"protocols": "inference_error_response", "public": "InferenceErrorResponse"}
    for name, error in published.items():
        content = {"paths": {}, "components": {"schemas": {error: {}}}}
        monkeypatch.setattr(document, name, partial(deepcopy, content))
    found = document.mended(model="iris", version="1")
    assert list(found) == ["the protocol's", "MLServer's"]
    schemas = [content["components"]["schemas"] for content in found.values()]
    assert schemas[0]["inference_error_response"]["required"] == ["error"]
    assert schemas[1]["InferenceErrorResponse"]["required"] == ["error"]
