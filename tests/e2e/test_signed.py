"""A namespace that requires signatures: a model signed by a trusted key is served, any other one is refused
with a condition that names cause and fix.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import SIGNED, SIGNED_NAMESPACE
from tests.e2e.kube import Json, Kube, condition, namespace, phase
from tests.e2e.manifests import claim, model_deployment, running

BUNDLE = {file.name: file.read_bytes() for file in (SIGNED / "bundle").iterdir()}
OTHER = BUNDLE | {"noria.json": BUNDLE["noria.json"].replace(b'"tiny"', b'"other"')}
"""Another model: its manifest has another digest."""


def signed(bundle: dict[str, bytes], signature: str) -> dict[str, bytes]:
    return {**bundle, "model.sig": (SIGNED / signature).read_bytes()}


GOOD = signed(BUNDLE, "p256.sig")
REFUSED = {
    "stripped": (BUNDLE, "SignatureMissing", "model_signing sign key"),
    "wrong-key": (signed(BUNDLE, "p384.sig"), "SignatureInvalid", "signatures.trustedKeys"),
    "expired": (signed(BUNDLE, "expired-certificate.sig"), "SignatureInvalid", "x509CertificateChain"),
    "other-model": (signed(OTHER, "p256.sig"), "SignatureInvalid", "['noria.json'] differ"),
    "malformed": ({**BUNDLE, "model.sig": b"[" * 10_000}, "SignatureInvalid", "not JSON"),
}
"""Name: the files, the reason of the refusal, a word of its message."""
WRITE = """
import base64, json, pathlib, sys
for name, text in json.loads(sys.argv[1]).items():
    path = pathlib.Path("/models") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(base64.b64decode(text))
"""


def version(name: str, files: dict[str, bytes]) -> Json:
    digest = "sha256:" + hashlib.sha256(files["noria.json"]).hexdigest()
    artifact = {"uri": f"pvc://models/{name}", "digest": digest, "format": "onnx"}
    spec = {"model": name, "version": 1, "artifact": artifact}
    return {"kind": "ModelVersion", "metadata": {"name": f"{name}-1"}, "spec": spec}


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """The namespace, all bundles in its claim, a version of each being verified."""
    bundles = {"good": GOOD, "later": GOOD, **{name: files for name, (files, _, _) in REFUSED.items()}}
    files = {
        f"{model}/{name}": base64.b64encode(content).decode()
        for model, files in bundles.items()
        for name, content in files.items()
    }
    with namespace(noria, SIGNED_NAMESPACE) as kube:
        kube.apply(claim())
        kube.apply(running("courier", images["example-flights"], WRITE, json.dumps(files)))
        kube.until("Pod", "courier", phase("Succeeded"))
        for name, content in bundles.items():
            kube.apply(version(name, content))
        yield kube


def test_a_version_signed_by_a_trusted_key_is_approved_and_served(kube: Kube) -> None:
    approved = kube.until("ModelVersion", "good-1", phase("Approved"))
    hint = json.loads(GOOD["model.sig"])["verificationMaterial"]["publicKey"]["hint"]
    assert f"is signed with key sha256:{hint}" in approved["status"]["message"]
    kube.apply(model_deployment("good", model="good", replicas=1))
    kube.until("ModelDeployment", "good", lambda md: condition(md, "Servable").get("status") == "True")
    kube.delete("ModelDeployment", "good")


@pytest.mark.parametrize("name", REFUSED)
def test_a_version_that_is_not_signed_well_is_rejected_with_cause_and_fix(kube: Kube, name: str) -> None:
    _, reason, says = REFUSED[name]
    rejected = kube.until("ModelVersion", f"{name}-1", phase("Rejected"))
    assert (
        condition(rejected, "Stalled")["reason"] == condition(rejected, "ArtifactReady")["reason"] == reason
    )
    assert says in rejected["status"]["message"]


def test_a_signature_that_was_taken_away_after_the_approval_keeps_the_model_from_being_served(
    kube: Kube, images: dict[str, str]
) -> None:
    kube.until("ModelVersion", "later-1", phase("Approved"))
    kube.apply(running("thief", images["example-flights"], "import os; os.remove('/models/later/model.sig')"))
    kube.until("Pod", "thief", phase("Succeeded"))
    kube.apply(model_deployment("later", model="later", replicas=1))
    stuck = kube.until(
        "ModelDeployment", "later", lambda md: "must be signed" in md["status"].get("message", "")
    )
    assert condition(stuck, "Servable")["status"] == "False"
    kube.delete("ModelDeployment", "later")
