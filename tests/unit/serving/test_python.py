"""Classes of users' own: packed with what they need, loaded only with consent, never trusted to behave."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import re
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from noria_serving import PythonModel, bundle, contract, evaluate, result, verify
from noria_serving.artifact import sha256
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load
from noria_serving.model.modules import Modules
from noria_serving.model.python import PythonBackend, open_python, outputs_of
from noria_serving.packing import archive
from noria_serving.payload.settings import LogSettings
from noria_serving.protocol import v2
from noria_serving.server.app import App
from noria_serving.server.models import Models, load_service
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings
from noria_serving.signature import Signature, Tensor

DOCS = Path(__file__).parents[3] / "docs" / "bundle.md"
MODEL = """
import json

import numpy as np
from late.steps import steep

from noria_serving import PythonModel


class Late(PythonModel):
    def load(self, directory):
        self.weights = np.array(json.loads((directory / "weights.json").read_text()))

    def predict(self, inputs):
        from late import steps

        positive = 1 / (1 + np.exp(-steep(inputs["input-0"] @ self.weights)))
        return {"probabilities": np.stack([1 - positive, positive], axis=1), "margin": steps.steep(positive)}
"""
SIGNATURE = Signature(
    (Tensor("x", "FP64", (-1, 1)),),
    (
        Tensor("label", "BYTES", (-1,)),
        Tensor("probabilities", "FP64", (-1, 2)),
        Tensor("note", "BYTES", (-1,)),
    ),
)
ROWS = {"x": np.array([[1.0], [2.0], [3.0]])}
GOOD = {"probabilities": [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], "note": ["a", "b", "c"]}


class Imported:
    """What a training program imported; nothing is left of it after `forget`."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._names: list[str] = []

    def load(self, folder: Path, name: str) -> Any:
        """The class `module:Class` of a folder."""
        self._patch.syspath_prepend(str(folder))
        module, _, attribute = name.partition(":")
        self._names.append(module.partition(".")[0])
        return getattr(importlib.import_module(module), attribute)

    def forget(self) -> None:
        for module in [module for module in sys.modules if module.partition(".")[0] in self._names]:
            del sys.modules[module]
        self._patch.undo()


@pytest.fixture
def imported() -> Iterator[Imported]:
    found = Imported()
    yield found
    found.forget()


def write_late(folder: Path) -> None:
    """A class in a package, which imports a module of it at the top and another time when it predicts."""
    package = folder / "src" / "late"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text(MODEL)
    (package / "steps.py").write_text("def steep(x):\n    return 2 * x\n")
    (folder / "weights.json").write_text("[1.0, 0.0, 0.5]")


@pytest.fixture
def late(tmp_path: Path, imported: Imported) -> type:
    write_late(tmp_path)
    return imported.load(tmp_path / "src", "late.model:Late")


@pytest.fixture(scope="module")
def saved(matrix, tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    """Its bundle, which takes a process of its own to prove; the sources have changed since."""
    rows, labels = matrix
    folder, imported = tmp_path_factory.mktemp("late"), Imported()
    write_late(folder)
    made = bundle.save(
        imported.load(folder / "src", "late.model:Late"), rows, labels, folder / "bundle",
        name="late", task="binary", files=[folder / "weights.json"],
    )  # fmt: skip
    imported.forget()
    (folder / "src" / "late" / "steps.py").write_text("raise RuntimeError('not the one that was packed')")
    return made


def refusal(call: Callable[[], object]) -> NoriaError:
    with pytest.raises(NoriaError) as caught:
        call()
    return caught.value


@pytest.mark.processes
def test_a_class_is_served_from_its_bundle_alone(saved: bundle.Bundle, matrix) -> None:
    rows, labels = matrix
    loaded = load(str(saved.path), digest=saved.digest, allow_code=True)
    label, probabilities, margin = loaded.backend.predict({"input-0": rows})
    positive = 1 / (1 + np.exp(-2 * (rows[:, 0] + 0.5 * rows[:, 2])))
    assert saved.format == loaded.manifest.format == "python"
    assert [t["name"] for t in saved.signature["outputs"]] == ["label", "probabilities", "margin"]
    assert np.allclose(probabilities[:, 1], positive)
    assert np.allclose(margin, 2 * positive)
    assert label.tolist() == (positive > 0.5).astype(int).tolist()
    scores, _ = loaded.scoring.read([label, probabilities, margin])
    assert scores.tolist() == probabilities[:, 1].tolist()
    assert json.loads((saved.path / contract.REFERENCE).read_bytes())["samples"] == len(labels)
    loaded.close()
    assert "late" not in sys.modules
    assert not [place for place in sys.path if Path(place).name.startswith("noria-")]


def test_equal_files_give_equal_bytes_and_caches_stay_out(late: type, tmp_path: Path) -> None:
    folder = tmp_path / "src" / "late"
    before = archive([folder, tmp_path / "weights.json"])
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__" / "model.pyc").write_bytes(b"x")
    (folder / ".git").write_text("x")
    (folder / "model.py").touch()
    assert archive([folder, tmp_path / "weights.json"]) == before
    with zipfile.ZipFile(io.BytesIO(before)) as content:
        assert content.namelist() == ["late/__init__.py", "late/model.py", "late/steps.py", "weights.json"]


@pytest.mark.processes
def test_code_runs_only_where_it_is_allowed(saved: bundle.Bundle) -> None:
    error = refusal(lambda: load(str(saved.path)))
    assert error.reason is Reason.FORMAT_REFUSED
    assert "allowCodeNamespaces" in error.message
    assert "late" not in sys.modules
    env = {"NORIA_BUNDLE": str(saved.path)}
    assert refusal(lambda: verify.verify(env)).reason is Reason.FORMAT_REFUSED
    assert verify.verify(env | {"NORIA_ALLOW_CODE": "1"})["digest"] == saved.digest


@pytest.mark.processes
def test_a_module_that_was_not_packed_is_missed_when_the_bundle_is_saved(
    tmp_path: Path, imported: Imported, matrix
) -> None:
    (tmp_path / "forgotten_features.py").write_text("def scale(x):\n    return x\n")
    (tmp_path / "needy.py").write_text(
        "import forgotten_features\nfrom noria_serving import PythonModel\n"
        "class Needy(PythonModel):\n"
        "    def predict(self, inputs):\n"
        "        return {'prediction': forgotten_features.scale(inputs['input-0'][:, 0])}\n"
    )
    rows, _ = matrix
    needy = imported.load(tmp_path, "needy:Needy")
    error = refusal(lambda: bundle.save(needy, rows, rows[:, 0], tmp_path / "b", task="regression"))
    assert error.reason is Reason.MISSING_DEPENDENCY
    assert "'forgotten_features'" in error.message
    assert "files=" in error.message
    assert "spec.server.image" in error.message


@pytest.mark.processes
def test_a_class_with_a_thread_of_its_own_is_saved(tmp_path: Path, imported: Imported, matrix) -> None:
    """Though its thread never ends, and the process that proves the bundle does."""
    (tmp_path / "fresh.py").write_text(
        "import threading, time\nfrom noria_serving import PythonModel\n"
        "class Fresh(PythonModel):\n"
        "    def load(self, directory):\n"
        "        threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    def predict(self, inputs):\n"
        "        return {'prediction': inputs['input-0'][:, 0]}\n"
    )
    rows, _ = matrix
    begun = time.monotonic()
    made = bundle.save(
        imported.load(tmp_path, "fresh:Fresh"), rows, rows[:, 0], tmp_path / "b", task="regression"
    )
    assert time.monotonic() - begun < 60
    assert made.format == "python"


def test_a_class_whose_probabilities_are_none_is_refused(tmp_path: Path, imported: Imported, matrix) -> None:
    (tmp_path / "sure.py").write_text(
        "import numpy as np\nfrom noria_serving import PythonModel\n"
        "class Sure(PythonModel):\n"
        "    def predict(self, inputs):\n"
        "        return {'probabilities': np.full((len(inputs['input-0']), 2), 2.0)}\n"
    )
    sure = imported.load(tmp_path, "sure:Sure")
    error = refusal(lambda: bundle.save(sure, *matrix, tmp_path / "b", task="binary"))
    assert error.reason is Reason.MODEL_INVALID
    assert "'probabilities' holds 2, which is no probability" in error.message


class Nested(PythonModel):
    """In a module whose package is no package of its own: tests run it as a class of the program itself."""

    def predict(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        return {"prediction": inputs["input-0"][:, 0]}


def test_what_cannot_be_imported_elsewhere_is_refused(matrix, tmp_path: Path, monkeypatch) -> None:
    rows, labels = matrix
    monkeypatch.setattr(Nested, "__module__", "__main__")
    error = refusal(lambda: bundle.save(Nested, rows, labels, tmp_path, task="regression"))
    assert "module of its own" in error.message
    assert "task=" in refusal(lambda: bundle.save(Nested, rows, labels, tmp_path)).message
    for options in ({}, {"task": "regression"}, {"task": "regression", "files": ["x"]}):
        error = refusal(lambda options=options: bundle.save(Nested(), rows, labels, tmp_path, **options))
        assert "hand over the class Nested, not an object of it" in error.message
    extra = {"task": "binary", "files": ["x"]}
    assert "class of your own" in refusal(lambda: bundle.save(b"", rows, labels, tmp_path, **extra)).message


def opened(tmp_path: Path, source: str, *, name: str = "own:Own", digest: str = "sha256:1") -> PythonBackend:
    folder = tmp_path / "code"
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text("from noria_serving import PythonModel\n" + source)
    return open_python(archive([folder / "own.py"]), digest, name, SIGNATURE, ["no", "yes"])


OWN = "class Own(PythonModel):\n    def predict(self, inputs): return {}\n"


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        (
            OWN + "    def load(self, d): raise KeyError('weights')",
            Reason.MODEL_INVALID,
            "Own.load raised KeyError",
        ),
        (OWN + "    def load(self, d): raise SystemExit(0)", Reason.MODEL_INVALID, "SystemExit"),
        (OWN + "    async def load(self, d): pass", Reason.MODEL_INVALID, "Own.load gave a coroutine"),
        (OWN + "    def __init__(self, x): pass", Reason.MODEL_INVALID, "TypeError"),
        ("import nowhere_to_be_found\n" + OWN, Reason.MISSING_DEPENDENCY, "'nowhere_to_be_found'"),
        ("1/0", Reason.MODEL_INVALID, "importing 'own:Own' raised ZeroDivisionError"),
        ("x =", Reason.MODEL_INVALID, "SyntaxError"),
        ("", Reason.MODEL_INVALID, "no class 'Own'"),
        ("class Own: pass", Reason.MODEL_INVALID, "no subclass of noria_serving.PythonModel"),
        ("class Own(PythonModel): pass", Reason.MODEL_INVALID, "predict"),
    ],
)
def test_what_goes_wrong_while_loading_is_a_reason(
    tmp_path: Path, source: str, reason: Reason, words: str
) -> None:
    error = refusal(lambda: opened(tmp_path, source))
    assert error.reason is reason
    assert words in error.message
    assert "own" not in sys.modules
    assert not [place for place in sys.path if Path(place, "own.py").exists()]


@pytest.mark.parametrize("name", ["own", "own:", ":Own", "own.Own", "../own:Own", "None", "json:JSONDecoder"])
def test_a_class_must_be_named_by_a_module_of_the_archive(tmp_path: Path, name: str) -> None:
    assert refusal(lambda: opened(tmp_path, OWN, name=name)).reason is Reason.MANIFEST_INVALID


def test_bytes_that_are_no_archive_are_refused_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text("x = 1\n" * 999)
    whole = archive([tmp_path / "own.py"])
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    for data in (b"GGUF", b"", whole[:-30], whole.replace(b"x = 1", b"x = 2", 1)):
        error = refusal(lambda data=data: open_python(data, "sha256:2", "own:Own", SIGNATURE, []))
        assert error.reason is Reason.FORMAT_REFUSED
    assert not list((tmp_path / "scratch").iterdir())


def test_modules_in_folders_without_init_are_forgotten_too(tmp_path: Path) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "inner" / "own.py").write_text("from noria_serving import PythonModel\n" + OWN)
    data = archive([tmp_path / "outer"])
    open_python(data, "sha256:4", "outer.inner.own:Own", SIGNATURE, []).close()
    assert not [name for name in sys.modules if name.startswith("outer")]


def test_modules_of_two_bundles_never_meet(tmp_path: Path) -> None:
    first = opened(tmp_path, OWN)
    shared = opened(tmp_path, OWN)
    error = refusal(lambda: opened(tmp_path, OWN + "    other = 1", digest="sha256:2"))
    assert "another model of this process has a module 'own'" in error.message
    first.close()
    assert "own" in sys.modules, "the second user still needs them"
    shared.close()
    opened(tmp_path, OWN + "    other = 1", digest="sha256:2").close()


@pytest.mark.parametrize("name", ["random", "numpy", "mypy"])
def test_a_module_never_hides_one_that_is_installed(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("")
    error = refusal(lambda: Modules.open(archive([tmp_path / f"{name}.py"]), "sha256:3"))
    assert f"{name!r}" in error.message


class Stub(PythonModel):
    """Answers what it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, inputs: Mapping[str, np.ndarray]) -> Any:
        return self.answer(inputs) if callable(self.answer) else self.answer


def backend(answer: Any) -> PythonBackend:
    return PythonBackend(Stub(answer), SIGNATURE, ["no", "yes"], lambda: None)


def test_an_answer_is_put_in_order_and_its_label_is_the_likeliest_class() -> None:
    label, probabilities, note = backend(GOOD).predict(ROWS)
    assert label.tolist() == ["no", "yes", "no"]
    assert (probabilities.dtype, note.dtype) == (np.float64, object)
    own = backend({**GOOD, "label": ["yes", "yes", "no"]}).predict(ROWS)
    assert own[0].tolist() == ["yes", "yes", "no"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([1, 2, 3], "a list; expected was a dict"),
        (None, "a NoneType; expected was a dict"),
        ({}, "the outputs []; expected were ['label', 'probabilities', 'note']"),
        ({**GOOD, "more": [1, 2, 3]}, "'more'"),
        ({**GOOD, "note": ["a"]}, "'note' is <U1 of shape [1]; expected was BYTES of shape [3]"),
        ({**GOOD, "note": [1, 2, 3]}, "'note' is int64"),
        ({**GOOD, "probabilities": [[0, 1], [1], [1]]}, "'probabilities' is no array"),
        ({**GOOD, "note": np.array(["a", None, "b"], object)}, "'note' is object"),
        ({**GOOD, "probabilities": np.zeros((3, 3))}, "expected was FP64 of shape [3, 2]"),
        ({**GOOD, "probabilities": [["a", "b"]] * 3}, "'probabilities' is <U1"),
        ({**GOOD, "probabilities": np.zeros((3, 2), complex)}, "'probabilities' is complex128"),
    ],
)
def test_a_wrong_answer_says_what_was_expected(answer: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        backend(answer).predict(ROWS)


def test_a_whole_number_that_has_no_place_in_its_output_is_refused() -> None:
    """Of wider numbers than those that the first answer had."""
    shape = Signature(SIGNATURE.inputs, (Tensor("count", "INT8", (-1,)),))
    for count in (300, -129):
        with pytest.raises(ValueError, match=f"holds {count}, which is no INT8"):
            PythonBackend(Stub({"count": [1, 2, count]}), shape, [], lambda: None).predict(ROWS)


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]
)
def test_a_model_does_not_decide_when_the_server_ends(error: BaseException) -> None:
    def raising(_: object) -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        backend(raising).predict(ROWS)


@pytest.mark.parametrize("listed", ["anb", "bna"])
@pytest.mark.parametrize("rows", [1, 2])
def test_columns_come_in_the_order_of_those_of_training_however_a_request_has_them(
    listed: str, rows: int
) -> None:
    datatypes = {"a": "FP64", "n": "INT64", "b": "FP64"}
    shape = Signature(
        tuple(Tensor(name, datatype, (-1, 1)) for name, datatype in datatypes.items()),
        (Tensor("sum", "FP64", (-1,)),),
    )
    model = Stub(lambda inputs: {"sum": np.hstack([*inputs.values()]) @ [100, 10, 1]})
    values = {"a": 1, "n": 2, "b": 3}
    tensors = [
        {"name": name, "datatype": datatypes[name], "shape": [rows, 1], "data": [values[name]] * rows}
        for name in listed
    ]
    request = v2.decode(json.dumps({"inputs": tensors}).encode(), shape)
    (answer,) = PythonBackend(model, shape, [], lambda: None).predict(request.inputs)
    assert answer.tolist() == [123] * rows


def test_rows_are_read_only_and_answers_are_copies() -> None:
    kept = np.array(GOOD["probabilities"])
    first = backend({**GOOD, "probabilities": kept}).predict(ROWS)[1]
    kept[:] = 0
    assert first.tolist() == GOOD["probabilities"]

    def spoil(inputs: Any) -> Any:
        inputs["x"] *= 0

    with pytest.raises(ValueError, match="read-only"):
        backend(spoil).predict(ROWS)
    assert ROWS["x"].sum() == 6


@pytest.mark.parametrize(
    ("answer", "task", "words"),
    [
        ({}, "regression", "numbers first"),
        ({"prediction": ["a", "b"]}, "regression", "numbers first"),
        ({"prediction": [[1, 2], [3, 4]]}, "regression", "numbers first"),
        ({"late": [True, False]}, "regression", "numbers first"),
        ({"prediction": [[1], [1, 2]]}, "regression", "'prediction' is no array"),
        ({"prediction": [1]}, "regression", "for each of the 2 rows"),
        ({"prediction": 1.0}, "regression", "for each of the 2 rows"),
        ({"label": [0, 1], "margin": [0.1, 0.2]}, "binary", "a column for each of [0, 1]"),
        ({"probabilities": [0.1, 0.2]}, "binary", "shape [rows, 2]"),
        ({"probabilities": [[0, 1], [1, 0]]}, "binary", "floating-point"),
    ],
)
def test_an_answer_that_no_such_task_has_is_refused_when_it_is_saved(
    answer: Any, task: str, words: str
) -> None:
    assert words in refusal(lambda: outputs_of(answer, 2, task, [0, 1])).message


@pytest.mark.processes
async def test_a_failing_class_is_a_500_and_runs_beside_the_event_loop(saved: bundle.Bundle, matrix) -> None:
    settings = ModelSettings(bundle=str(saved.path), deployment="late", model="late", allow_code=True)
    service = Service(settings, load(settings.bundle, allow_code=True))
    models = Models(Settings((settings,)))
    models.serve(service)
    model, seen = service.loaded.backend._model, []  # type: ignore[attr-defined]
    answer = model.predict

    def failing(inputs: Any) -> Any:
        seen.append(threading.current_thread())
        if len(seen) == 1:
            raise LookupError("no such road")
        return answer(inputs)

    model.predict = failing
    row = {"name": "input-0", "shape": [1, 3], "datatype": "FP64", "data": matrix[0][0].tolist()}
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        failed = await client.post("/v2/models/late/infer", json={"inputs": [row]})
        assert failed.status_code == 500
        assert failed.json() == {"error": "the model failed: LookupError: no such road"}
        good = await client.post("/v2/models/late/infer", json={"inputs": [row]})
        assert good.status_code == 200
        assert (await client.get("/v2/models/late")).json()["platform"] == "noria_python"
    assert threading.main_thread() not in seen
    await service.soundness.prove()
    assert not service.soundness.fault
    service.close()
    assert "late" not in sys.modules


@pytest.mark.processes
async def test_a_version_may_be_loaded_again_and_after_an_unload(saved: bundle.Bundle, matrix) -> None:
    models = Models(Settings((ModelSettings(bundle=str(saved.path), allow_code=True),)))
    (slot,) = models.slots
    for change in (models.load, models.load, models.unload, models.load):
        await change(slot)
        assert ("late" in sys.modules) is slot.ready
    assert slot.service is not None
    assert len(slot.service.loaded.backend.predict({"input-0": matrix[0]})) == 3
    models.close()
    assert "late" not in sys.modules


@pytest.mark.processes
def test_a_version_that_cannot_be_served_leaves_no_module_behind(
    saved: bundle.Bundle, tmp_path: Path
) -> None:
    log = LogSettings(str(tmp_path), redact=("nothing of the kind",))
    settings = ModelSettings(bundle=str(saved.path), allow_code=True, payload_log=log)
    assert "nothing of the kind" in refusal(lambda: load_service(settings)).message
    assert "late" not in sys.modules


@pytest.mark.processes
def test_challenger_and_champion_may_have_modules_of_the_same_names(
    saved: bundle.Bundle, tmp_path: Path, matrix
) -> None:
    from pyarrow import csv, table

    rows, labels = matrix
    columns = {f"x{i}": rows[:, i] for i in range(3)} | {"late": labels}
    csv.write_csv(table(columns), tmp_path / "rows.csv")
    other = tmp_path / "other"
    shutil.copytree(saved.path, other)
    with zipfile.ZipFile(other / "model.python", "a") as content:
        content.writestr("late/more.py", "")
    manifest = json.loads((other / contract.MANIFEST).read_bytes())
    manifest["files"]["model.python"] = sha256((other / "model.python").read_bytes())
    (other / contract.MANIFEST).write_bytes(result.canonical(manifest))
    said = evaluate.evaluate(
        {
            "NORIA_CHALLENGER": str(saved.path), "NORIA_CHAMPION": str(other), "NORIA_LABEL": "late",
            "NORIA_HOLDOUT": str(tmp_path / "rows.csv"), "NORIA_ALLOW_CODE": "1",
        }
    )  # fmt: skip
    assert said["metrics"]["challenger"] == said["metrics"]["champion"]
    assert "late" not in sys.modules


@pytest.mark.processes
def test_the_example_in_the_docs_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: Imported
) -> None:
    parts = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert [name for name, _ in parts] == ["forecast.py", "train.py"]
    for name, text in parts:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(contract.ENV_OUTPUT, str(tmp_path / "out"))
    imported.load(tmp_path, "forecast:Forecast")
    exec(compile(dict(parts)["train.py"], "train.py", "exec"), {})
    imported.forget()
    assert load(str(tmp_path / "out"), allow_code=True).manifest.task == "regression"
