import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import pytest

from noria_serving import contract, result, signature
from noria_serving.artifact import Artifact, DirectorySource, parse_manifest, sha256
from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model import onnx, sklearn
from noria_serving.model.loaded import Loaded, load
from noria_serving.model.onnx import open_session
from noria_serving.model.tabular import Answer
from noria_serving.objects import ObjectSource

Copy = Callable[[Bundle], Path]


def refusal(path: Path, *, digest: str | None = None, allow_code: bool = False) -> Reason:
    with pytest.raises(NoriaError) as caught:
        load(str(path), digest=digest, allow_code=allow_code)
    return caught.value.reason


def rewrite(path: Path, **changes: object) -> None:
    """A manifest that agrees with the files as they are now: an attacker who can write all of it."""
    manifest = json.loads((path / contract.MANIFEST).read_bytes())
    manifest["files"] = {
        file.name: sha256(file.read_bytes()) for file in path.iterdir() if file.name != contract.MANIFEST
    }
    (path / contract.MANIFEST).write_bytes(result.canonical({**manifest, **changes}))


def test_a_changed_model_is_not_loaded(matrix_bundle: Bundle, copy_of: Copy) -> None:
    path = copy_of(matrix_bundle)
    (path / "model.onnx").write_bytes((path / "model.onnx").read_bytes() + b"\0")
    assert refusal(path) is Reason.DIGEST_MISMATCH


def test_a_truncated_and_an_empty_file_are_not_loaded(matrix_bundle: Bundle, copy_of: Copy) -> None:
    path = copy_of(matrix_bundle)
    for content in ((path / contract.SIGNATURE).read_bytes()[:-1], b""):
        (path / contract.SIGNATURE).write_bytes(content)
        assert refusal(path) is Reason.DIGEST_MISMATCH


def test_a_consistent_forgery_fails_on_the_registered_digest(matrix_bundle: Bundle, copy_of: Copy) -> None:
    path = copy_of(matrix_bundle)
    (path / contract.METRICS).write_bytes(b'{"metrics":{"auc":"1"}}')
    rewrite(path)
    assert refusal(path, digest=matrix_bundle.digest) is Reason.DIGEST_MISMATCH


def test_an_extra_file_a_missing_file_and_no_manifest_are_refused(
    matrix_bundle: Bundle, copy_of: Copy
) -> None:
    path = copy_of(matrix_bundle)
    (path / "more.bin").write_bytes(b"x")
    assert refusal(path) is Reason.FILES_DIFFER
    (path / "more.bin").unlink()
    (path / contract.GOLDEN).unlink()
    assert refusal(path) is Reason.FILES_DIFFER
    (path / contract.MANIFEST).unlink()
    assert refusal(path) is Reason.NOT_FOUND
    assert refusal(path / "nowhere") is Reason.NOT_FOUND


def test_links_pipes_and_directories_are_refused(matrix_bundle: Bundle, copy_of: Copy) -> None:
    path = copy_of(matrix_bundle)
    outside = path.parent / "outside"
    outside.write_bytes((path / contract.METRICS).read_bytes())
    target = path / contract.METRICS
    target.unlink()
    for make in (partial(target.symlink_to, outside), partial(os.mkfifo, target)):
        make()
        assert refusal(path) is Reason.PATH_UNSAFE
        target.unlink()
    target.mkdir()
    assert refusal(path) is Reason.PATH_UNSAFE


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/b", "a\\b", ".hidden", "a\0b", "", "noria.json", "ｎame"]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    document = {
        "schema": contract.BUNDLE_SCHEMA, "format": "onnx", "task": "binary", "model": name,
        "files": {name: "sha256:" + "0" * 64},
    }  # fmt: skip
    with pytest.raises(NoriaError) as caught:
        parse_manifest(result.canonical(document), "")
    assert caught.value.reason is Reason.PATH_UNSAFE


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"schema":"noria.bundle/v2"}']
)
def test_a_malformed_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(NoriaError) as caught:
        parse_manifest(data, "")
    assert caught.value.reason is Reason.MANIFEST_INVALID


@pytest.mark.parametrize("wrong", [None, 1, [], {}, ""])
def test_names_that_are_no_texts_are_refused(wrong: object) -> None:
    files = dict.fromkeys(("signature.json", "reference.json", "golden.json", "metrics.json"), sha256(b""))
    document = {"schema": contract.BUNDLE_SCHEMA, "format": "onnx", "task": "binary", "files": files}
    tensors = {key: [{"name": "a", "datatype": wrong, "shape": [-1]}] for key in ("inputs", "outputs")}
    for parse in (
        lambda: parse_manifest(result.canonical({**document, "model": wrong}), ""),
        lambda: signature.parse(tensors),
    ):
        with pytest.raises(NoriaError) as caught:
            parse()
        assert caught.value.reason is Reason.MANIFEST_INVALID


def test_a_file_that_grows_while_it_is_read_is_cut_off(
    matrix_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = Artifact(DirectorySource(matrix_bundle.path))
    monkeypatch.setattr("noria_serving.artifact.MAX_DOCUMENT", 4)
    with pytest.raises(NoriaError) as caught:
        artifact.read(contract.SIGNATURE)
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_model_that_answers_otherwise_is_not_served(matrix_bundle: Bundle, copy_of: Copy) -> None:
    path = copy_of(matrix_bundle)
    golden = json.loads((path / contract.GOLDEN).read_bytes())
    golden["outputs"][1]["data"][0] += 0.01
    (path / contract.GOLDEN).write_bytes(result.canonical(golden))
    rewrite(path)
    assert refusal(path) is Reason.GOLDEN_MISMATCH


def test_a_model_with_fewer_outputs_than_it_states_is_not_served(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = type(loaded.backend).predict
    monkeypatch.setattr(type(loaded.backend), "predict", lambda self, rows: predict(self, rows)[:1])
    with pytest.raises(NoriaError) as caught:
        loaded.prove()
    assert caught.value.reason is Reason.GOLDEN_MISMATCH


@pytest.mark.parametrize("classes", [["no", "yes"], [None, 1], [[0], [1]], [0, 2**70], [0, float("inf")]])
def test_classes_that_are_no_label_of_the_signature_are_refused(classes: list[Any]) -> None:
    tensors = signature.Tensor("label", "INT64", (-1,)), signature.Tensor("probabilities", "FP32", (-1, 2))
    with pytest.raises(NoriaError) as caught:
        Answer(signature.Signature((), tensors), "binary", classes)
    assert caught.value.reason is Reason.MANIFEST_INVALID


@pytest.mark.parametrize(
    ("width", "column", "said"),
    [(-1, 0, "rows of 'input-0' differ in size; state their size"), (2, 2, "'x2' is not in the signature")],
)
def test_features_that_cannot_be_counted_are_refused(
    matrix_bundle: Bundle, copy_of: Copy, width: int, column: int, said: str
) -> None:
    path = copy_of(matrix_bundle)
    signature = json.loads((path / contract.SIGNATURE).read_bytes())
    signature["inputs"][0]["shape"] = [-1, width]
    (path / contract.SIGNATURE).write_bytes(result.canonical(signature))
    reference = json.loads((path / contract.REFERENCE).read_bytes())
    reference["features"] = [reference["features"][column]]
    (path / contract.REFERENCE).write_bytes(result.canonical(reference))
    rewrite(path)
    with pytest.raises(NoriaError, match=said) as caught:
        load(str(path))
    assert caught.value.reason is Reason.MANIFEST_INVALID


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("carrier", "numeric", "'carrier' is numeric, and 'carrier' holds BYTES"),
        ("distance", "category", "'distance' is category, and 'distance' holds FP32"),
    ],
)
def test_features_of_another_kind_than_their_tensors_are_refused(
    frame_bundle: Bundle, copy_of: Copy, name: str, kind: str, said: str
) -> None:
    """Their rows could not be counted, and neither could any others that wait beside them."""
    path = copy_of(frame_bundle)
    reference = json.loads((path / contract.REFERENCE).read_bytes())
    (feature,) = (feature for feature in reference["features"] if feature["name"] == name)
    feature |= {"kind": kind, "edges": [], "values": [], "known": [], "counts": [9]}
    reference.pop("slices", None)
    (path / contract.REFERENCE).write_bytes(result.canonical(reference))
    rewrite(path)
    with pytest.raises(NoriaError, match=said) as caught:
        load(str(path))
    assert caught.value.reason is Reason.MANIFEST_INVALID


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("/nonexistent/this-ran",)


@pytest.mark.parametrize(
    "content", [pickle.dumps(Bomb()), pickle.dumps(Bomb(), protocol=0), b"PK\x03\x04junk", b"", b"GGUF"]
)
def test_the_bytes_decide_what_a_file_is_not_its_name(
    content: bytes, matrix_bundle: Bundle, copy_of: Copy
) -> None:
    path = copy_of(matrix_bundle)
    (path / "model.onnx").write_bytes(content)
    rewrite(path)
    assert refusal(path) is Reason.FORMAT_REFUSED
    rewrite(path, format="skops")
    assert refusal(path) in (Reason.FORMAT_REFUSED, Reason.MODEL_INVALID)


def test_row_19_a_pickle_inside_a_checkpoint_of_pytorch_is_not_read(
    matrix_bundle: Bundle, copy_of: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, checkpoint = copy_of(matrix_bundle), io.BytesIO()
    with zipfile.ZipFile(checkpoint, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weights": [Bomb()]}))
        archive.writestr("archive/version", "3")
    (path / "model.onnx").write_bytes(checkpoint.getvalue())
    monkeypatch.setattr(os, "mkdir", lambda *_: pytest.fail("the pickle ran"))
    for form in ("onnx", "skops", "xgboost", "lightgbm", "torch", "pickle"):
        rewrite(path, format=form)
        assert refusal(path) in (Reason.FORMAT_REFUSED, Reason.MODEL_INVALID)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("damaged", [range(100, 101), range(200)])
def test_row_19_a_skops_file_whose_bytes_are_not_those_of_its_checksum_is_refused(
    method: int, damaged: range
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as target:
        target.writestr("schema.json", json.dumps({str(i): i * i for i in range(200)}))
    data = bytearray(archive.getvalue())
    begin = data.index(b"schema.json") + len(b"schema.json")
    for place in range(begin + damaged.start, begin + damaged.stop):
        data[place] ^= 1
    with pytest.raises(NoriaError, match="damaged") as caught:
        sklearn.load_skops(bytes(data))
    assert caught.value.reason is Reason.MODEL_INVALID


def test_formats_off_the_list_and_pickle_without_opt_in_are_refused(
    matrix_bundle: Bundle, copy_of: Copy
) -> None:
    path = copy_of(matrix_bundle)
    (path / "model.onnx").write_bytes(pickle.dumps(Bomb()))
    for form in ("pickle", "joblib", "keras"):
        rewrite(path, format=form)
        assert refusal(path) is Reason.FORMAT_REFUSED
    rewrite(path, format="pickle")
    assert refusal(path, allow_code=True) is Reason.MODEL_INVALID


def test_skops_with_a_type_that_is_not_trusted_is_refused() -> None:
    import skops.io

    with pytest.raises(NoriaError) as caught:
        sklearn.load_skops(skops.io.dumps(Bomb()))
    assert caught.value.reason in (Reason.FORMAT_REFUSED, Reason.MODEL_INVALID)


@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        ("sklearn.linear_model._logistic.LogisticRegression", True),
        ("sklearn.pipeline.Pipeline", True),
        ("sklearn.linear_model.LogisticRegression", False),  # not where it is defined
        ("sklearn.linear_model._base.LinearModel", False),  # abstract, and not public
        ("sklearn.base.BaseEstimator", False),
        ("sklearn.base.clone", False),
        ("sklearn.utils._bunch.Bunch", False),
        ("sklearn.svm._base.BaseLibSVM", False),
        ("sklearn.utils.estimator_checks.parametrize_with_checks", False),
        ("sklearn.no_such_module.Estimator", False),
        ("sklearn.tests.test_base.MyEstimator", False),
        ("sklearnx.linear_model.LogisticRegression", False),
        ("os.system", False),
        ("sklearn", False),
    ],
)
def test_only_public_estimators_are_trusted(name: str, *, estimator: bool) -> None:
    assert sklearn.is_estimator(name) is estimator


@pytest.mark.parametrize("name", ["../evil", "/abs", "a\\..\\b", "dir/file"])
def test_archive_names_that_lead_elsewhere_are_refused(name: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("schema.json", "{}")
        target.writestr(name, "x")
    with pytest.raises(NoriaError) as caught:
        sklearn.load_skops(archive.getvalue())
    assert caught.value.reason is Reason.FORMAT_REFUSED


def test_an_archive_bomb_is_refused_before_it_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn, "MAX_EXPANDED", 1000)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("schema.json", " " * 100_000)
    with pytest.raises(NoriaError) as caught:
        sklearn.load_skops(archive.getvalue())
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_row_21_a_skops_file_that_would_be_unpacked_all_at_once_is_refused(method: int) -> None:
    """Whatever it becomes, and however little it claims to become."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as target:
        target.writestr("schema.json", "{}")
    with pytest.raises(NoriaError, match="deflate") as caught:
        sklearn.load_skops(archive.getvalue())
    assert caught.value.reason is Reason.FORMAT_REFUSED


def test_a_bundle_in_a_store_is_verified_like_one_on_disk(matrix_bundle: Bundle) -> None:
    from obstore.store import MemoryStore

    store = MemoryStore()
    for file in matrix_bundle.path.iterdir():
        store.put(file.name, file.read_bytes())
    artifact = Artifact(ObjectSource(store), digest=matrix_bundle.digest)
    assert artifact.verify() == sum(file.stat().st_size for file in matrix_bundle.path.iterdir())
    store.put("model.onnx", b"changed")
    with pytest.raises(NoriaError):
        Artifact(ObjectSource(store)).verify()


class WithFolder:
    """A store of S3 in which a console made an object of the folder itself."""

    def __init__(self, store: Any) -> None:
        self._store, self.get = store, store.get

    def list(self, prefix: str | None) -> Iterator[Any]:
        yield [{"path": "", "size": 0}]
        yield from self._store.list(prefix)


def test_a_folder_that_is_an_object_is_none_of_the_files(matrix_bundle: Bundle) -> None:
    from obstore.store import MemoryStore

    store = MemoryStore()
    for file in matrix_bundle.path.iterdir():
        store.put(file.name, file.read_bytes())
    assert Artifact(ObjectSource(WithFolder(store)), digest=matrix_bundle.digest).verify() > 0


def test_a_large_model_is_opened_from_scratch_space_and_answers_the_same(
    matrix_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Artifact, "content", partialmethod(Artifact.content, most=100))
    monkeypatch.setattr(onnx, "open_session", lambda model: opened.append(model) or open_session(model))
    assert load(str(matrix_bundle.path), digest=matrix_bundle.digest).golden_rows
    assert [type(model) for model in opened] == [type(tmp_path)]
    assert not list(tmp_path.iterdir())


def test_a_large_model_that_was_changed_is_not_opened(
    matrix_bundle: Bundle, copy_of: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Artifact, "content", partialmethod(Artifact.content, most=100))
    monkeypatch.setattr(onnx, "open_session", lambda model: pytest.fail("opened"))
    path = copy_of(matrix_bundle)
    (path / "model.onnx").write_bytes((path / "model.onnx").read_bytes() + b"\0")
    assert refusal(path) is Reason.DIGEST_MISMATCH
