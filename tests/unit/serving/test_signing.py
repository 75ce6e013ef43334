"""Signatures of bundles: those of the real `model_signing` 1.1.1 (tests/signed), made with keys that were
thrown away, and forgeries of each kind.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from noria_serving import contract, verify
from noria_serving.artifact import MAX_MANIFEST, Artifact, DirectorySource, sha256
from noria_serving.bundle import Bundle, save
from noria_serving.errors import NoriaError, Reason
from noria_serving.evaluate import evaluate
from noria_serving.main import main
from noria_serving.model.loaded import load
from noria_serving.settings import read as read_settings
from noria_serving.signing import PAYLOAD, Trust, signer, trusted

Json = dict[str, Any]
SIGNED = Path(__file__).parents[2] / "signed"
FILES = {file.name: sha256(file.read_bytes()) for file in (SIGNED / "bundle").iterdir()}
P256 = (SIGNED / "p256.pub").read_text()
P384 = (SIGNED / "p384.pub").read_text()
GOOD = (SIGNED / "p256.sig").read_bytes()
MINE = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, spki).decode())


TRUST = Trust(P256 + pem(MINE))


def statement(**changes: Any) -> Json:
    """What the real tool states of the bundle."""
    said = json.loads(base64.b64decode(json.loads(GOOD)["dsseEnvelope"]["payload"]))
    said["predicate"] |= {name: changes.pop(name) for name in ("resources",) if name in changes}
    said["predicate"]["serialization"] |= changes.pop("serialization", {})
    return said | changes


def signed(said: Any, key: ec.EllipticCurvePrivateKey = MINE, **bundle: Any) -> bytes:
    """A statement, signed as the tool does it, in a bundle with other parts."""
    document = json.loads(GOOD)
    payload = said if isinstance(said, bytes) else json.dumps(said).encode()
    message = f"DSSEv1 {len(PAYLOAD)} {PAYLOAD} {len(payload)} ".encode() + payload
    (name,) = trusted(pem(key))
    document["verificationMaterial"]["publicKey"]["hint"] = name.removeprefix("sha256:")
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(document | bundle).encode()


def refusal(signature: bytes | None, files: dict[str, str] = FILES, trust: Trust = TRUST) -> NoriaError:
    with pytest.raises(NoriaError) as caught:
        signer(signature, files, trust)
    return caught.value


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The bundle with its good signature, to be spoilt."""
    shutil.copytree(SIGNED / "bundle", tmp_path / "bundle")
    (tmp_path / "bundle" / contract.MODEL_SIGNATURE).write_bytes(GOOD)
    return tmp_path / "bundle"


def opened(place: Path, trust: Trust = TRUST) -> str | None:
    return Artifact(DirectorySource(place), trust=trust).signer


def reason(place: Path, trust: Trust = TRUST) -> Reason:
    with pytest.raises(NoriaError) as caught:
        opened(place, trust)
    return caught.value.reason


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
def test_a_signature_of_the_real_tool_is_good_on_each_curve(curve: str) -> None:
    key = (SIGNED / f"{curve}.pub").read_text()
    (name,) = trusted(key)
    assert signer((SIGNED / f"{curve}.sig").read_bytes(), FILES, Trust(P256 + P384 + key)) == name


def test_a_signed_bundle_is_served_under_the_digest_that_it_had_before(place: Path) -> None:
    digest = sha256((place / contract.MANIFEST).read_bytes())
    (place / contract.MODEL_SIGNATURE).unlink()
    assert load(str(place), digest=digest).manifest.digest == digest
    (place / contract.MODEL_SIGNATURE).write_bytes(GOOD)
    assert load(str(place), digest=digest, trust=Trust(P256, required=True)).manifest.digest == digest


def test_a_stripped_signature_is_refused_where_one_is_required_only(place: Path) -> None:
    (place / contract.MODEL_SIGNATURE).unlink()
    assert opened(place) is None
    assert opened(place, Trust()) is None
    assert reason(place, Trust(P256, required=True)) is Reason.SIGNATURE_MISSING
    assert reason(place, Trust(required=True)) is Reason.SIGNATURE_MISSING


def test_a_signature_that_is_not_good_is_never_passed_over(place: Path) -> None:
    (place / contract.MODEL_SIGNATURE).write_bytes(b"{}")
    assert reason(place, Trust(P256)) is Reason.SIGNATURE_INVALID
    assert opened(place, Trust()) is None, "without keys nothing is looked at"
    assert reason(place, Trust(required=True)) is Reason.SIGNATURE_INVALID


def test_a_wrong_key_is_named_with_those_that_are_trusted() -> None:
    refused = refusal(GOOD, trust=Trust(P384))
    assert refused.reason is Reason.SIGNATURE_INVALID
    assert [next(iter(trusted(key))) in refused.message for key in (P256, P384)] == [True, True]
    assert "trustedKeys" in refused.message


def test_a_signature_under_the_name_of_a_trusted_key_is_refused() -> None:
    document = json.loads(signed(statement()))
    document["verificationMaterial"]["publicKey"]["hint"] = next(iter(trusted(P256))).removeprefix("sha256:")
    assert "not made with the key that it names" in refusal(json.dumps(document).encode()).message


@pytest.mark.parametrize("name", sorted(FILES))
def test_each_file_is_covered(name: str) -> None:
    missing = {other: digest for other, digest in FILES.items() if other != name}
    for files in (FILES | {name: sha256(b"changed")}, missing):
        refused = refusal(GOOD, files)
        assert (refused.reason, name in refused.message) == (Reason.SIGNATURE_INVALID, True)


def test_a_file_that_is_not_signed_is_refused_also_if_it_is_in_the_manifest() -> None:
    assert "extra.bin" in refusal(GOOD, FILES | {"extra.bin": sha256(b"")}).message


def test_the_signature_of_another_model_is_refused(place: Path, matrix_bundle: Bundle) -> None:
    assert opened(place) is not None
    other = Path(shutil.copytree(matrix_bundle.path, place / ".." / "other"))
    shutil.copy(place / contract.MODEL_SIGNATURE, other)
    with pytest.raises(NoriaError, match=r"of other files: \['golden.json'.*noria.json"):
        opened(other)


def test_a_changed_file_and_a_file_beside_are_refused_before_a_model_is_read(place: Path) -> None:
    (place / "model.onnx").write_bytes(b"changed")
    with pytest.raises(NoriaError, match=r"model.onnx has sha256"):
        Artifact(DirectorySource(place), trust=TRUST).verify()
    (place / ".gitignore").write_text("the tool does not look at this one")
    assert reason(place) is Reason.FILES_DIFFER


@pytest.mark.parametrize(
    ("forged", "says"),
    [
        ((SIGNED / "expired-certificate.sig").read_bytes(), "x509CertificateChain"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"[]", "mediaType"),
        (b"null", "mediaType"),
        (signed(statement(), mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"), "mediaType"),
        (signed(statement(), verificationMaterial={"publicKey": {}}), "hint"),
        (signed(statement(), verificationMaterial={"publicKey": {"hint": 7}}), "hint"),
        (signed(statement(), dsseEnvelope={"payloadType": "text/plain"}), "payloadType"),
        (signed(statement(), dsseEnvelope={"payloadType": PAYLOAD, "signatures": []}), "one signature"),
        (signed(statement(), dsseEnvelope={"payloadType": PAYLOAD, "signatures": [1, 2]}), "one signature"),
        (
            signed(
                statement(), dsseEnvelope={"payloadType": PAYLOAD, "signatures": [{}], "payload": "é"}
            ),
            "base64",
        ),
        (signed(b"nothing"), "not JSON"),
        (signed([]), "_type"),
        (signed(statement(predicateType="https://slsa.dev/provenance/v1")), "something else"),
        (signed(statement(serialization={"method": "shards"})), "whole files"),
        (signed(statement(serialization={"hash_type": "blake3"})), "whole files"),
        (signed(statement(resources=[])), "are not signed"),
        (signed(statement(resources=[7])), "name"),
        (signed(statement(resources=statement()["predicate"]["resources"] * 2)), "twice"),
    ],
)  # fmt: skip
def test_what_is_no_signature_of_a_bundle_is_refused_with_what_is_wrong(forged: bytes, says: str) -> None:
    refused = refusal(forged)
    assert refused.reason is Reason.SIGNATURE_INVALID
    assert says in refused.message
    assert len(refused.message) < 1500


def test_a_huge_signature_is_not_read(place: Path) -> None:
    (place / contract.MODEL_SIGNATURE).write_bytes(b" " * (MAX_MANIFEST + 1))
    assert reason(place) is Reason.TOO_LARGE


class Unlisted:
    """A place that lists nothing, as a web server; reading the signature there fails for a reason."""

    def __init__(self, place: Path, missing: Reason | None = None) -> None:
        self._place, self._missing = place, missing

    def sizes(self) -> None:
        return None

    def chunks(self, name: str) -> Iterator[bytes]:
        if name == contract.MODEL_SIGNATURE and self._missing is not None:
            raise NoriaError(self._missing, "not to be had")
        return DirectorySource(self._place).chunks(name)


def test_a_place_that_lists_nothing_is_asked_for_the_signature(place: Path) -> None:
    assert Artifact(Unlisted(place), trust=TRUST).signer in trusted(P256)
    assert Artifact(Unlisted(place, Reason.NOT_FOUND), trust=TRUST).signer is None
    required = Trust(P256, required=True)
    for missing, expected in {
        Reason.NOT_FOUND: Reason.SIGNATURE_MISSING,
        Reason.STORAGE_UNAVAILABLE: Reason.STORAGE_UNAVAILABLE,
    }.items():
        with pytest.raises(NoriaError) as caught:
            Artifact(Unlisted(place, missing), trust=required)
        assert caught.value.reason is expected


def test_a_manifest_that_claims_the_signature_as_its_file_is_refused(place: Path) -> None:
    manifest = json.loads((place / contract.MANIFEST).read_bytes())
    manifest["files"][contract.MODEL_SIGNATURE] = sha256(GOOD)
    (place / contract.MANIFEST).write_text(json.dumps(manifest))
    assert reason(place) is Reason.PATH_UNSAFE


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("ssh-ed25519 AAAA", "PEM"),
        (P256 + P384.replace("PUBLIC", "PRIVATE"), "PEM"),
        (P256.replace("M", "N", 1), "trusted key 1 cannot be read"),
        (P256 + pem(rsa.generate_private_key(65537, 2048)), "trusted key 2 is on none of the curves"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "trusted key 1 is on none of the curves"),
    ],
)
def test_a_key_that_cannot_be_used_is_a_fault_of_the_configuration(keys: str, says: str) -> None:
    refused = refusal(GOOD, trust=Trust(keys))
    assert refused.reason is Reason.CONFIGURATION
    assert says in refused.message
    assert P384.splitlines()[1] not in refused.message


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """The good signature with one value of its JSON, or of the statement in it, replaced by any other."""
    inner = draw(st.booleans())
    document = statement() if inner else json.loads(GOOD)
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            break
        place = place[key]
    place[key] = draw(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
            max_leaves=5,
        )
    )
    return signed(document) if inner else json.dumps(document).encode()


@given(mutations())
def test_any_shape_of_json_is_a_signature_over_these_files_or_refused(forged: bytes) -> None:
    try:
        name = signer(forged, FILES, TRUST)
    except NoriaError as error:
        assert error.reason is Reason.SIGNATURE_INVALID
    else:
        assert name in trusted(TRUST.keys)


@given(st.binary(max_size=200), st.integers(0, len(GOOD)))
def test_bytes_put_anywhere_are_refused_or_change_nothing_that_counts(noise: bytes, at: int) -> None:
    try:
        assert signer(GOOD[:at] + noise + GOOD[at:], FILES, TRUST) in trusted(P256)
    except NoriaError as error:
        assert error.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "run",
    [
        verify.verify,
        lambda env: load(env["NORIA_BUNDLE"], trust=read_settings(env).models[0].trust),
        lambda env: evaluate({**env, "NORIA_CHALLENGER": env["NORIA_BUNDLE"]}),
    ],
    ids=["verify", "serve", "evaluate"],
)
def test_every_reader_of_the_cluster_obeys_the_environment(
    run: Callable[[Json], object], place: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("x0,late\n1,1\n")
    env = {
        "NORIA_BUNDLE": str(place), "NORIA_HOLDOUT": str(tmp_path), "NORIA_LABEL": "late",
        "NORIA_TRUSTED_KEYS": P384, "NORIA_REQUIRE_SIGNATURE": "1",
    }  # fmt: skip
    for expected in (Reason.SIGNATURE_INVALID, Reason.SIGNATURE_MISSING):
        with pytest.raises(NoriaError) as caught:
            run(env)
        assert caught.value.reason is expected
        (place / contract.MODEL_SIGNATURE).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "command", ["inspect", "predict", pytest.param("serve", marks=pytest.mark.processes)]
)
def test_every_command_obeys_the_environment(
    command: str, place: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("input-0\n1\n")
    monkeypatch.setenv("NORIA_TRUSTED_KEYS", P384)
    ports = ["--http-port=0", "--metrics-port=0", "--grpc-port=off"]
    with pytest.raises(SystemExit) as ended:
        main([command, str(place), *{"inspect": [], "predict": [str(rows)], "serve": ports}[command]])
    assert ended.value.code == 1
    assert "model.sig is not good" in capsys.readouterr().err


def test_the_verification_says_who_signed(place: Path) -> None:
    env = {"NORIA_BUNDLE": str(place), "NORIA_TRUSTED_KEYS": P256}
    assert verify.verify(env)["signer"] == next(iter(trusted(P256)))
    assert verify.verify({"NORIA_BUNDLE": str(place)})["signer"] is None


def test_publish_takes_the_signature_along(place: Path, tmp_path: Path, monkeypatch: Any) -> None:
    target = tmp_path / "claim"
    monkeypatch.setenv(contract.ENV_OUTPUT, str(target))
    names = tuple(name for name in FILES if name != contract.MANIFEST)
    Bundle(place, FILES[contract.MANIFEST], "onnx", "tiny", {}, {}, {}, files=names).publish(uri="pvc://c/r")
    assert opened(target) is not None


def test_a_second_attempt_does_not_keep_the_signature_of_the_first(place: Path, matrix: Any) -> None:
    rows, labels = matrix
    save(place / "model.onnx", rows[:, :2], labels, place, task="binary")
    assert not (place / contract.MODEL_SIGNATURE).exists()


def test_inspect_says_who_signed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def inspect(*options: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["inspect", str(place), *options])
        return int(ended.value.code or 0)

    assert inspect() == 0
    assert "not checked" in capsys.readouterr().out
    assert inspect("--trusted-keys", str(SIGNED / "p256.pub")) == 0
    assert next(iter(trusted(P256))) in capsys.readouterr().out
    assert inspect("--trusted-keys", str(SIGNED / "p384.pub")) == 1
    assert "SignatureInvalid" in capsys.readouterr().err
    assert inspect("--trusted-keys", str(place / "none")) == 2
