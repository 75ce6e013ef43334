"""XGBoost and LightGBM: handed over, served through their C interfaces, refused where a file is crafted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noria_serving import boosters, bundle, contract, conversion
from noria_serving.errors import NoriaError, Reason
from noria_serving.model import lightgbm as lightgbm_model
from noria_serving.model import native
from noria_serving.model import xgboost as xgboost_model
from noria_serving.model.loaded import load

FAMILIES = ("xgboost", "lightgbm")


def classifier(family: str, **options: Any) -> Any:
    if family == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(n_estimators=4, max_depth=3, **options)
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=4, max_depth=3, verbose=-1, **options)


def regressor(family: str) -> Any:
    if family == "xgboost":
        from xgboost import XGBRegressor

        return XGBRegressor(n_estimators=4, max_depth=3)
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_estimators=4, max_depth=3, verbose=-1)


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_as_onnx", lambda *_: "no converter")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_booster_becomes_onnx_and_says_how_much_faster_it_is(family: str, matrix, tmp_path: Path) -> None:
    rows, labels = matrix
    saved = bundle.save(classifier(family).fit(rows, labels), rows, labels, tmp_path, holdout=rows[::2])
    assert saved.format == "onnx"
    assert float(saved.speed["speedup"]) > 1
    said = json.loads((tmp_path / contract.METRICS).read_bytes())
    assert said["conversion"] == {"heldOut": True, "notConverted": ""}
    assert float(said["parity"]) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_booster_in_its_own_format_answers_like_its_library(
    family: str, task: str, matrix, tmp_path: Path, as_it_is: None
) -> None:
    rows, labels = matrix
    rows = np.where(rows > 2, np.nan, rows)
    targets = {"binary": labels, "multiclass": np.arange(len(rows)) % 3, "regression": labels * 1.5}[task]
    model = (regressor if task == "regression" else classifier)(family).fit(rows, targets)
    saved = bundle.save(model, rows, targets, tmp_path)
    assert saved.format == family
    loaded = load(str(tmp_path), digest=saved.digest)
    answer = loaded.backend.predict(conversion.cast({"input-0": rows}, loaded.backend.signature))
    wanted = model.predict(rows) if task == "regression" else model.predict_proba(rows)
    np.testing.assert_allclose(answer[-1], wanted, atol=1e-6)
    if task != "regression":
        assert answer[0].tolist() == model.predict(rows).tolist()
    again = bundle.save(model, rows, targets, tmp_path / "again")
    assert again.digest == saved.digest


@pytest.mark.parametrize("family", FAMILIES)
def test_category_columns_come_as_text_and_unknown_ones_are_missing(
    family: str, frame, tmp_path: Path
) -> None:
    rows, labels = frame
    typed = rows.assign(carrier=rows["carrier"].astype("category"))
    options = {"enable_categorical": True} if family == "xgboost" else {}
    model = classifier(family, **options).fit(typed, labels)
    saved = bundle.save(model, typed, labels, tmp_path)
    assert saved.format == family
    assert contract.ENCODING in saved.files
    backend = load(str(tmp_path)).backend
    inputs = conversion.cast(conversion.table(typed)[0], backend.signature)
    assert inputs["carrier"].tolist()[0] == ["AA"]
    np.testing.assert_allclose(backend.predict(inputs)[1], model.predict_proba(typed), atol=1e-6)
    unknown = backend.predict({**inputs, "carrier": np.full_like(inputs["carrier"], "??")})
    gone = typed.assign(carrier=typed["carrier"].where(typed["carrier"] == "none"))
    np.testing.assert_allclose(unknown[1], model.predict_proba(gone), atol=1e-6)


def test_an_xgboost_booster_and_an_early_stop_are_handed_over_as_they_predict(
    matrix, tmp_path: Path, as_it_is: None
) -> None:
    rows, labels = matrix
    stopped = classifier("xgboost", early_stopping_rounds=1)
    stopped.fit(rows, labels, eval_set=[(rows[::-1], 1 - labels)], verbose=False)
    bundle.save(stopped, rows, labels, tmp_path / "stopped")
    model = classifier("xgboost").fit(rows, labels)
    saved = bundle.save(model.get_booster(), rows, labels, tmp_path / "bare")
    assert saved.format == "xgboost"
    assert load(str(saved.path)).manifest.classes == (0, 1)


def test_a_pipeline_that_ends_in_a_booster_becomes_onnx(frame, tmp_path: Path) -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows, labels = frame
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("c", encoder, ["carrier"])], remainder="passthrough")
    model = Pipeline([("columns", columns), ("model", classifier("xgboost"))]).fit(rows, labels)
    assert bundle.save(model, rows, labels, tmp_path).format == "onnx"


def xgboost_document(rows: Any, labels: Any) -> dict[str, Any]:
    model = classifier("xgboost").fit(rows, labels)
    return json.loads(bytes(model.get_booster().save_raw("json")))


@pytest.mark.parametrize(
    "change",
    [
        {"left_children": 10_000},
        {"left_children": 0},
        {"right_children": -7},
        {"split_indices": 3},
        {"split_indices": 2**31 - 1},
    ],
)
def test_a_crafted_xgboost_tree_is_refused_before_native_code_walks_it(matrix, change: dict) -> None:
    document = xgboost_document(*matrix)
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    for name, value in change.items():
        tree[name][0] = value
    with pytest.raises(NoriaError) as caught:
        xgboost_model.check(json.dumps(document).encode())
    assert caught.value.reason is Reason.MODEL_INVALID


def categorical_document(booster: str = "gbtree") -> dict[str, Any]:
    from pandas import Categorical, DataFrame
    from xgboost import XGBClassifier

    rows = DataFrame({"c": Categorical(list("abcdef") * 20), "n": np.arange(120.0)})
    labels = np.array([1, 0, 1, 0, 0, 1] * 20)
    options = {"n_estimators": 4, "max_depth": 3, "booster": booster, "gamma": 0.1}
    model = XGBClassifier(**options, enable_categorical=True).fit(rows, labels)
    return json.loads(bytes(model.get_booster().save_raw("json")))


def trees_of(document: dict[str, Any]) -> Any:
    booster = document["learner"]["gradient_booster"]
    return booster.get("gbtree", booster)["model"]


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_trees_as_xgboost_writes_them_are_sound(booster: str) -> None:
    document = categorical_document(booster)
    assert trees_of(document)["trees"][0]["categories"]
    assert xgboost_model.check(json.dumps(document).encode()) == (2, "binary:logistic")


@pytest.mark.parametrize(
    "change",
    [
        {"categories": [-64, 3, 4]},
        {"categories": [2**24]},
        {"categories_segments": [2**31 - 1]},
        {"categories_segments": [-(2**40)]},
        {"categories_segments": [2**70]},
        {"categories_sizes": [2**63 - 1]},
        {"categories_sizes": []},
        {"categories_nodes": [10**8]},
        {"split_type": []},
        {"parents": [10**8] * 3},
        {"parents": [2**31 - 1] * 3},
        {"parents": [2**31 - 1, 2, 0]},
        {"tree_param": {"num_nodes": "3", "size_leaf_vector": "1000"}},
        {"id": 1},
        {"id": -1},
    ],
    ids=str,
)
def test_what_xgboost_would_follow_out_of_its_arrays_is_refused(change: dict[str, Any]) -> None:
    """Most of these were the end of the process."""
    document = categorical_document()
    trees_of(document)["trees"][0].update(change)
    with pytest.raises(NoriaError) as caught:
        xgboost_model.check(json.dumps(document).encode())
    assert caught.value.reason is Reason.MODEL_INVALID


@pytest.mark.parametrize(
    "change",
    [
        {"tree_info": [2**31 - 1] * 4},
        {"tree_info": [-1] * 4},
        {"tree_info": []},
        {"iteration_indptr": [-(10**6), 1, 2, 3, 4]},
        {"iteration_indptr": [0, 3, 2, 3, 4]},
        {"iteration_indptr": [0, 9]},
    ],
    ids=str,
)
def test_trees_that_xgboost_would_look_for_elsewhere_are_refused(change: dict[str, Any]) -> None:
    document = categorical_document()
    trees_of(document).update(change)
    with pytest.raises(NoriaError, match="do not add up") as caught:
        xgboost_model.check(json.dumps(document).encode())
    assert caught.value.reason is Reason.MODEL_INVALID


def test_each_tree_of_a_dart_has_its_weight() -> None:
    document = categorical_document("dart")
    document["learner"]["gradient_booster"]["weight_drop"].pop()
    with pytest.raises(NoriaError, match="do not add up"):
        xgboost_model.check(json.dumps(document).encode())


def test_sets_of_categories_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xgboost_model, "MAX_SETS", 5)
    with pytest.raises(NoriaError, match="sets of categories") as caught:
        xgboost_model.check(json.dumps(categorical_document()).encode())
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("key", ["tree_info", "tree\\u005finfo"])
def test_a_key_that_stands_twice_in_xgboosts_json_is_refused(key: str) -> None:
    text = json.dumps(categorical_document()).replace('"trees":', f'"{key}": [0, 0, 0, 0], "trees":')
    with pytest.raises(NoriaError, match="stands twice") as caught:
        xgboost_model.check(text.encode())
    assert caught.value.reason is Reason.MODEL_INVALID


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x04\x95", Reason.FORMAT_REFUSED),
        (b"PK\x03\x04", Reason.FORMAT_REFUSED),
        (b"", Reason.FORMAT_REFUSED),
        (b"{L\x7f\xff\xff\xff\xff\xff\xff\xffa", Reason.MODEL_INVALID),
        (b"{L" + bytes(7) + b"\x01a[$d#L\x00\x00\x00\x02\x54\x0b\xe4\x00", Reason.MODEL_INVALID),
        (b"{L" + bytes(7) + b"\x01a[#L\x00\x00\x00\x02\x54\x0b\xe4\x00", Reason.MODEL_INVALID),
        (b"{L" + bytes(7) + b"\x01a" + b"[" * 100_000, Reason.MODEL_INVALID),
        (b'{"learner":' + b"[" * 100_000, Reason.MODEL_INVALID),
        (b'{"learner": {}}', Reason.MODEL_INVALID),
    ],
)
def test_xgboost_bytes_that_lie_are_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(NoriaError) as caught:
        xgboost_model.check(data)
    assert caught.value.reason is reason


def test_every_truncation_of_a_model_is_refused(matrix) -> None:
    rows, labels = matrix
    binary = bytes(classifier("xgboost").fit(rows, labels).get_booster().save_raw("ubj"))
    text = boosters.native(classifier("lightgbm").fit(rows, labels))[1]
    end = text.index(b"end of trees")
    for length in range(0, len(binary), 997):
        with pytest.raises(NoriaError):
            xgboost_model.check(binary[:length])
    for length in range(0, end, 997):
        with pytest.raises(NoriaError):
            lightgbm_model.check(text[:length])


@pytest.mark.parametrize(
    ("pattern", "change"),
    [
        ("left_child=", "left_child=9999 "),
        ("right_child=", "right_child=0 "),
        ("left_child=", "left_child=-9999 "),
        ("split_feature=", "split_feature=3 "),
        ("num_leaves=", "num_leaves=9"),
        ("num_cat=", "num_cat=7"),
        ("is_linear=", "is_linear=1"),
        ("num_class=", "num_class=1000"),
        ("num_tree_per_iteration=", "num_tree_per_iteration=2"),
        ("split_feature=", "split_feature=10e-1 "),
        ("split_feature=", "split_feature=1_0 "),
        ("num_leaves=", "num_leaves=1000000\nnum_leaves="),
        ("left_child=", "left_child=9999 9999\x0bleft_child="),
        ("left_child=", "left_child=9999 9999\u2028left_child="),
        ("left_child=", "left_child=9999 9999\rleft_child="),
        ("shrinkage=", "shrinkage=1\nend of trees=1\nleft_child=9999"),
        ("shrinkage=", "shrinkage=1\n\nleft_child=9999"),
        ("shrinkage=", "shrinkage=1\nTree=x\nleft_child=9999"),
        ("shrinkage=", "\n".join([f"{'x' * n}=1" for n in range(1, 9)]) + "\nshrinkage="),
    ],
)
def test_a_crafted_lightgbm_tree_is_refused_before_native_code_walks_it(
    matrix, pattern: str, change: str
) -> None:
    import re

    rows, labels = matrix
    text = boosters.native(classifier("lightgbm").fit(rows, labels))[1].decode()
    crafted = re.sub(rf"(?m)^{pattern}\S+ ?", change, text, count=1)
    assert crafted != text
    with pytest.raises(NoriaError) as caught:
        lightgbm_model.check(crafted.encode())
    assert caught.value.reason is Reason.MODEL_INVALID


@pytest.mark.parametrize(
    ("pattern", "change"),
    [
        ("threshold", "threshold=7"),
        ("threshold", "threshold= 7"),
        ("threshold", "threshold=0.5"),
        ("threshold", "threshold=x 0"),
        ("cat_boundaries", "cat_boundaries=0 1e0"),
        ("cat_boundaries", "cat_boundaries=0 7"),
    ],
)
def test_a_category_set_that_is_not_there_is_refused(pattern: str, change: str) -> None:
    import re

    from lightgbm import LGBMClassifier
    from pandas import Categorical, DataFrame

    rows = DataFrame({"c": Categorical(list("abcdef") * 40), "n": np.arange(240.0)})
    labels = np.array([1, 0, 1, 0, 0, 1] * 40)
    options = {"n_estimators": 3, "min_data_per_group": 1, "cat_smooth": 1, "verbose": -1}
    text = LGBMClassifier(**options).fit(rows, labels).booster_.model_to_string()
    assert lightgbm_model.check(text.encode()) == (2, 1, "binary")
    crafted = re.sub(rf"(?m)^{pattern}=0( 1)?$", change, text, count=1)
    assert crafted != text
    with pytest.raises(NoriaError) as caught:
        lightgbm_model.check(crafted.encode())
    assert caught.value.reason is Reason.MODEL_INVALID


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_library_names_the_extra(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NoriaError, match=f"noria-ml\\[{family}\\]") as caught:
        native.open_library(family, family)
    assert caught.value.reason is Reason.MISSING_DEPENDENCY


@pytest.mark.parametrize("family", FAMILIES)
def test_serving_a_booster_imports_none_of_the_heavy_packages(
    family: str, matrix, tmp_path: Path, as_it_is: None
) -> None:
    rows, labels = matrix
    bundle.save(classifier(family).fit(rows, labels), rows, labels, tmp_path)
    heavy = ("xgboost", "lightgbm", "sklearn", "scipy", "pandas", "onnxruntime")
    code = (
        "import sys; from noria_serving.model.loaded import load; "
        f"load({str(tmp_path)!r}); print([m for m in {heavy} if m in sys.modules])"
    )
    serving = str(Path(bundle.__file__).parents[1])
    output = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": serving}, capture_output=True, check=True
    )
    assert output.stdout == b"[]\n"
