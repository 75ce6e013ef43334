"""What a server with a scikit-learn model imports, and what it does not, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import skops.io
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

LEFT_OUT = (
    "numpy.testing",
    "numpy.f2py",
    "unittest",
    "sklearn.ensemble",
    "sklearn.cluster",
    "sklearn.manifold",
    "sklearn.tree",
    "sklearn.neighbors",
    "scipy.optimize._highspy",
)
CHILD = f"""
import sys
from importlib import reload
from pathlib import Path
import numpy as np
from noria_serving.model.sklearn import load_skops

loaded = [load_skops(Path(sys.argv[1], "linear").read_bytes())]
assert not set({LEFT_OUT}) & set(sys.modules), set({LEFT_OUT}) & set(sys.modules)
from skops.io import _trusted_types as trusted
at_once = trusted.SCIPY_UFUNC_TYPE_NAMES, trusted.NUMPY_UFUNC_TYPE_NAMES
assert min(map(len, at_once)) > 50
reload(trusted)
assert at_once == (trusted.SCIPY_UFUNC_TYPE_NAMES, trusted.NUMPY_UFUNC_TYPE_NAMES)  # one by one
loaded += [load_skops(Path(sys.argv[1], name).read_bytes()) for name in ("boosted", "clustered", "tree")]
np.testing.assert_array_equal(np.eye(1), 1)
assert "numpy.testing" in sys.modules
from sklearn.cluster import KMeans
assert type(loaded[2][0]) is KMeans
from noria_serving.model import lean
assert load_skops(lean.whole().dumps(loaded[3])).get_depth() == 2  # what was left out is there for who saves
from scipy.optimize import Bounds, linprog, milp
assert linprog([1.0], bounds=(3, 9)).x == milp([1.0], bounds=Bounds(3, 9)).x == [3]
for model in loaded:
    print(*model.predict(np.arange(12.0).reshape(-1, 3)))
"""
INTERRUPTED = """
import sys
from pathlib import Path
from threading import Thread
from noria_serving.errors import NoriaError
from noria_serving.model.sklearn import load_skops

data, seen = Path(sys.argv[1]).read_bytes(), []

def other():
    import skops.io
    seen.append(hasattr(skops.io, "loads"))

class Meanwhile:
    def find_spec(self, name, path, target=None):
        if name == "skops.io._visualize":
            sys.meta_path.remove(self)
            if self.fails:
                raise ImportError(name)
            thread.start()
            thread.join(0.3)  # it waits for this import, or sees half of it at once

for fails in (True, False):
    thread, meanwhile = Thread(target=other), Meanwhile()
    meanwhile.fails = fails
    sys.meta_path.insert(0, meanwhile)
    try:
        load_skops(data)
    except NoriaError as error:
        print(error.reason)
    print(sys.modules["skops.io._utils"].whichmodule.__name__)
thread.join()
print(seen)
"""


def test_what_a_model_does_not_need_is_not_imported_and_there_for_those_that_do(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(5, 3, size=(60, 3))
    labels = (rows.sum(axis=1) > 15).astype(int)
    models = {
        "linear": LogisticRegression(),
        "boosted": HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=5),
        "clustered": make_pipeline(KMeans(3, random_state=0), LogisticRegression()),
        "tree": DecisionTreeClassifier(max_depth=2),
    }
    expected = []
    for name, model in models.items():
        model.fit(rows, labels)
        (tmp_path / name).write_bytes(skops.io.dumps(model))
        expected.append(" ".join(map(str, model.predict(np.arange(12.0).reshape(-1, 3)))))
    assert _printed(CHILD, tmp_path) == expected


def test_a_first_import_that_fails_leaves_nothing_behind_and_another_thread_sees_all_of_it_or_none(
    tmp_path: Path,
) -> None:
    rows = np.arange(12.0).reshape(-1, 3)
    file = tmp_path / "linear"
    file.write_bytes(skops.io.dumps(LogisticRegression().fit(rows, [0, 1, 0, 1])))
    assert _printed(INTERRUPTED, file) == ["MissingDependency", "whichmodule", "whichmodule", "[True]"]


def _printed(code: str, place: Path) -> list[str]:
    command = [sys.executable, "-c", code, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
