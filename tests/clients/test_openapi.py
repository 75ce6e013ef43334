"""schemathesis finds nothing wrong: by the protocol's public OpenAPI documents, and by the server's own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from benchmarks.conformance import document, fuzz
from benchmarks.conformance.probes import Asker
from tests.clients.conftest import Noria
from tools import clients

pytestmark = pytest.mark.extended
SEEDS = (1, 2, 3)
OPERATIONS = 9
"""Of the protocol, each path with and without a version."""
OWN_CHECKS = (*fuzz.CHECKS, "response_headers_conformance", "negative_data_rejection", "unsupported_method")
"""Not `positive_data_acceptance`: no schema can say that `data` must fill `shape`."""


@pytest.fixture(scope="module")
def own(noria: Noria) -> dict[str, Any]:
    """The document that the server gives."""
    content: dict[str, Any] = httpx.get(f"{noria.url}/openapi.json").json()
    return content


@pytest.fixture(scope="module")
def public(noria: Noria) -> dict[str, Any]:
    """That of MLServer's package."""
    return document.corrected(document.public(), model=noria.target.model, version=noria.target.version)


def test_a_prediction_fits_the_protocols_document(noria: Noria, public: dict[str, Any]) -> None:
    """Fuzzers hardly ever find data that fill their shape."""
    asker = Asker(noria.target)
    with asker.client:
        answer = asker.infer(asker.body())
    assert answer.status_code == 200
    schema = {"$ref": "#/components/schemas/InferenceResponse", "components": public["components"]}
    jsonschema.validate(answer.json(), schema, jsonschema.Draft4Validator)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_protocols_document_finds_no_failure(noria: Noria, public: dict[str, Any], seed: int) -> None:
    outcome = fuzz.run(public, noria.target.http, cases=100, seed=seed)
    assert outcome.failures == ()
    assert len(outcome.operations) == OPERATIONS
    assert outcome.requests > 100 * OPERATIONS / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_protocols_own_document_finds_no_failure(noria: Noria, seed: int) -> None:
    try:
        published = document.protocols()
    except OSError as away:
        pytest.skip(f"the protocol's document cannot be fetched: {away}")
    completed = document.completed(published, model=noria.target.model, version=noria.target.version)
    outcome = fuzz.run(completed, noria.target.http, cases=100, seed=seed)
    assert outcome.failures == ()
    assert len(outcome.operations) == OPERATIONS


def test_our_own_document_is_valid_openapi(own: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "openapi.json"
    place.write_text(json.dumps(own))
    command = [str(clients.python("clients")), "-m", "openapi_spec_validator", str(place)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seed", SEEDS)
def test_our_own_document_finds_no_failure(noria: Noria, own: dict[str, Any], seed: int) -> None:
    phases = (*fuzz.PHASES, "coverage")
    outcome = fuzz.run(own, noria.target.http, cases=50, seed=seed, checks=OWN_CHECKS, phases=phases)
    assert outcome.failures == ()
    asked = {f"{method.upper()} {path}" for path, item in own["paths"].items() for method in item}
    assert outcome.operations == asked
