"""How each server is started, in the way its documentation shows for the least overhead.

Peers answer with labels alone, which is what they do by default and the least work; Noria answers with
labels, probabilities and a feedback token, and counts. Where answers are large, both are measured at the
other's answer as well: Noria asked for labels by name, and the cheapest peer made to answer probabilities.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tools import clients
from tools.cluster.layout import CHECKOUT
from tools.ports import free_port

from benchmarks.conformance.suites import Target
from benchmarks.peers.models import BACKENDS, SHAPES, Served
from benchmarks.peers.process import Command, Running

PROGRAMS = Path(__file__).parent / "programs"
VERSION = "1"
LIVE = "/v2/health/live"
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPYCACHEPREFIX", "NORIA_CACHE")


@dataclass(frozen=True)
class Server:
    """One model server: how to start it for a model and a backend, and what it offers."""

    name: str
    title: str
    start: Callable[[Served, str, Path], Command]
    label: str = "label"
    """What it calls the output that holds the labels of a scikit-learn model."""
    infer_path: str = "/v2/models/{model}/infer"
    json: bool = True
    binary: bool = False
    grpc: bool = False
    asks: str = ""
    """The one output that requests name; the default is not to name any, and to get what there is."""
    shapes: tuple[str, ...] = SHAPES
    backends: tuple[str, ...] = BACKENDS
    """What it is measured with."""


def _environment(**more: str) -> dict[str, str]:
    """What a server needs of ours: one thread for each computing library, no foreign paths."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **more}


def _noria(served: Served, backend: str, folder: Path, *, python: str | None = None) -> Command:
    """`python`: another interpreter than the one with what the server's image holds."""
    http, counters, grpc = free_port(), free_port(), free_port()
    env = _environment(
        PYTHONPATH=str(CHECKOUT / "serving"),
        NORIA_BUNDLE=str(served.bundles[backend]),
        NORIA_MODEL=served.name,
        NORIA_VERSION=VERSION,
        NORIA_HOST="127.0.0.1",
        NORIA_PORT=str(http),
        NORIA_COUNTERS_PORT=str(counters),
        NORIA_GRPC_PORT=str(grpc),
        NORIA_FEEDBACK_KEYS=str(served.keys),
        NORIA_DRAIN_SECONDS="0",
    )
    argv = [python or str(clients.python("server")), "-m", "noria_serving.main"]
    return Command(argv, env, folder, http, "/v2/health/ready", grpc)


def _noria_logged(served: Served, backend: str, folder: Path) -> Command:
    """With the payload log, at its default: every request and answer is written."""
    command = _noria(served, backend, folder)
    log = json.dumps({"uri": str(folder / "payloads")})
    return replace(command, env={**command.env, "NORIA_PAYLOAD_LOG": log})


def _noria_uncounted(served: Served, backend: str, folder: Path) -> Command:
    command = _noria(served, backend, folder)
    return replace(command, argv=[command.argv[0], str(PROGRAMS / "noria_uncounted.py")])


def _mlserver(served: Served, backend: str, folder: Path, *, implementation: str | None = None) -> Command:
    """`implementation`: another one than that of the backend."""
    http, grpc, metrics = free_port(), free_port(), free_port()
    settings = {
        "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics,
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    implementations: Mapping[str, str] = {
        "sklearn": "mlserver_sklearn.SKLearnModel",
        "onnx": "mlserver_onnx.OnnxModel",
    }
    uri = _file(served, backend)
    model = {
        "name": served.name,
        "implementation": implementation or implementations[backend],
        "parameters": {"uri": uri, "version": VERSION},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / served.name).mkdir()
    (folder / served.name / "model-settings.json").write_text(json.dumps(model))
    python = clients.python("peer-mlserver")
    env = _environment(PYTHONPATH=str(PROGRAMS))
    argv = [str(python), str(python.with_name("mlserver")), "start", str(folder)]
    return Command(argv, env, folder, http, f"/v2/models/{served.name}/ready", grpc)


def _kserve(served: Served, backend: str, folder: Path) -> Command:
    http, grpc = free_port(), free_port()
    model = _file(served, backend)
    argv = [
        str(clients.python("clients")), str(PROGRAMS / "kserve_server.py"),
        "--model_name", served.name, "--model_path", model,
        "--http_port", str(http), "--grpc_port", str(grpc), "--enable_grpc", "true",
        "--enable_latency_logging", "false", "--workers", "1",
    ]  # fmt: skip
    return Command(argv, _environment(), folder, http, f"/v2/models/{served.name}/ready", grpc)


def _kserve_both(served: Served, backend: str, folder: Path) -> Command:
    labels = _kserve(served, backend, folder)
    return replace(labels, argv=[*labels.argv, "--probabilities"])


def _litserve(served: Served, backend: str, folder: Path) -> Command:
    http = free_port()
    model = _file(served, backend)
    argv = [str(clients.python("peer-litserve")), str(PROGRAMS / "litserve_server.py"), model, str(http)]
    return Command(argv, _environment(), folder, http, "/health")


def _floor(served: Served, backend: str, folder: Path) -> Command:
    http = free_port()
    argv = [str(clients.python("server")), str(PROGRAMS / "floor_http.py"), _file(served, backend), str(http)]
    return Command(argv, _environment(), folder, http, "/ready")


def _floor_grpc(served: Served, backend: str, folder: Path) -> Command:
    grpc = free_port()
    argv = [str(clients.python("server")), str(PROGRAMS / "floor_grpc.py"), _file(served, backend), str(grpc)]
    env = _environment(PYTHONPATH=str(CHECKOUT / "serving"))
    return Command(argv, env, folder, grpc, "", grpc)


def noria_not_ready(served: Served, backend: str, folder: Path) -> Command:
    """Its model is warmed up for longer than anybody looks."""
    command = noria_of_this_checkout(served, backend, folder)
    warming_up = {"NORIA_WARM_UP_ROWS": ",".join(["65536"] * 100), "NORIA_WARM_UP_CALLS": "1000"}
    return replace(command, env={**command.env, **warming_up}, ready_path=LIVE)


def mlserver_not_ready(served: Served, backend: str, folder: Path) -> Command:
    """Its model says so of itself."""
    command = _mlserver(served, backend, folder, implementation="mlserver_not_ready.NotReadyModel")
    return replace(command, ready_path=LIVE)


def kserve_not_ready(served: Served, backend: str, folder: Path) -> Command:
    """Its model says so of itself."""
    command = _kserve(served, backend, folder)
    return replace(command, argv=[*command.argv, "--not-ready"], ready_path=LIVE)


def _file(served: Served, backend: str) -> str:
    return str(served.joblib if backend == "sklearn" else served.onnx)


def noria_of_this_checkout(served: Served, backend: str, folder: Path) -> Command:
    """Noria in the environment of the checks, which tests have anyway."""
    return _noria(served, backend, folder, python=sys.executable)


def target(running: Running, served: Served, *, label: str) -> Target:
    """A running server as clients see it; `label`: its output with the labels."""
    return Target(
        http=running.http,
        grpc=running.grpc,
        model=served.name,
        version=VERSION,
        input="input-0",
        label=label,
        rows=served.rows.tolist(),
        labels=served.labels,
    )


NORIA = Server("noria", "Noria", _noria, binary=True, grpc=True)
NORIA_OF_THIS_CHECKOUT = Server("noria", "Noria", noria_of_this_checkout, binary=True, grpc=True)
MLSERVER = Server("mlserver", "MLServer 1.7.1", _mlserver, label="predict", grpc=True)
KSERVE = Server("kserve", "KServe SDK 0.21.0", _kserve, label="output-0", binary=True, grpc=True)
NORIA_LABELS = Server(
    "noria-labels", "Noria, asked for labels", _noria, json=False, grpc=True, asks="label", shapes=("large",)
)
NORIA_UNCOUNTED = Server(
    "noria-uncounted", "Noria, counting switched off", _noria_uncounted, json=False, grpc=True,
    shapes=("large",),
)  # fmt: skip
NORIA_LOGGED = Server(
    "noria-logged", "Noria, payload log on", _noria_logged, shapes=("small",), backends=("onnx",)
)
KSERVE_BOTH = Server(
    "kserve-both", "KServe SDK 0.21.0, probabilities too", _kserve_both, label="output-0", json=False,
    grpc=True, shapes=("large",),
)  # fmt: skip
LITSERVE = Server("litserve", "LitServe 0.2.19", _litserve, infer_path="/infer")
FLOOR = Server("floor", "bare ASGI floor", _floor, infer_path="/infer", binary=True)
FLOOR_GRPC = Server("floor-grpc", "bare grpc.aio floor", _floor_grpc, json=False, grpc=True)
