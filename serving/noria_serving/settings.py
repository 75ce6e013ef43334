"""The model server's settings, read once from the environment that the operator sets (see contract.py).

Without Kubernetes `noria-server serve BUNDLE` says the same with arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from noria_serving import contract, signing, warmup
from noria_serving.errors import NoriaError, Reason
from noria_serving.limits import DEFAULT, Limits, number
from noria_serving.limits import read as read_limits
from noria_serving.payload.settings import LogSettings, parse
from noria_serving.signing import Trust
from noria_serving.warmup import WarmUp

ENV_HOST: Final = "NORIA_HOST"
ENV_PORT: Final = "NORIA_PORT"
ENV_COUNTERS_PORT: Final = "NORIA_COUNTERS_PORT"
LAST_PORT: Final = 65535
ENV_MAX_BODY: Final = "NORIA_MAX_BODY_BYTES"
MAX_BODY: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class ModelSettings:
    """One version of a model to serve, and the names it goes by."""

    bundle: str
    digest: str | None = None
    namespace: str = "default"
    deployment: str = "model"
    model: str = "model"
    version: str = "model-1"
    """Name of the ModelVersion, `<model>-<N>`; the protocol's `model_version` is N."""
    number: str = "1"
    feedback_keys: str | None = None
    allow_code: bool = False
    payload_log: LogSettings | None = None
    warm_up: WarmUp = warmup.NONE
    trust: Trust = signing.NOBODY

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may call the model."""
        return tuple(dict.fromkeys((self.deployment, self.model)))


@dataclass(frozen=True)
class Settings:
    """What this process serves, where it listens and how it goes away."""

    models: tuple[ModelSettings, ...]
    drain_seconds: float = 8.0
    finish_seconds: int = contract.FINISH_SECONDS
    """What is in flight may take so long after the drain; a request that never ends is cut off then."""
    host: str = "0.0.0.0"
    port: int = contract.SERVER_PORT
    counters_port: int = contract.COUNTERS_PORT
    grpc_port: int | None = contract.GRPC_PORT
    """None: no gRPC."""
    max_body: int = MAX_BODY
    limits: Limits = DEFAULT
    repository_writable: bool = False
    """Whether clients may load and unload models."""


def read(env: Mapping[str, str]) -> Settings:
    """Settings from the environment; a missing bundle or a malformed number is `ConfigurationInvalid`."""
    return Settings(
        models=(_model(env),),
        drain_seconds=number(env, contract.ENV_DRAIN_SECONDS, 8.0),
        finish_seconds=int(number(env, contract.ENV_FINISH_SECONDS, contract.FINISH_SECONDS)),
        host=env.get(ENV_HOST) or "0.0.0.0",
        port=_port(env, ENV_PORT, contract.SERVER_PORT),
        counters_port=_port(env, ENV_COUNTERS_PORT, contract.COUNTERS_PORT),
        grpc_port=_grpc_port(env),
        max_body=int(number(env, ENV_MAX_BODY, MAX_BODY)),
        limits=read_limits(env),
    )


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    port = int(number(env, name, default))
    if port > LAST_PORT:
        raise NoriaError(Reason.CONFIGURATION, f"{name}={env[name]!r}: ports end at {LAST_PORT}")
    return port


def _grpc_port(env: Mapping[str, str]) -> int | None:
    if env.get(contract.ENV_GRPC_PORT) == contract.NO_GRPC:
        return None
    return _port(env, contract.ENV_GRPC_PORT, contract.GRPC_PORT)


def _model(env: Mapping[str, str]) -> ModelSettings:
    bundle = env.get(contract.ENV_BUNDLE, "")
    if not bundle:
        raise NoriaError(
            Reason.CONFIGURATION,
            f"{contract.ENV_BUNDLE} is not set: it names the bundle to serve; or: noria-server serve BUNDLE",
        )
    model = env.get(contract.ENV_MODEL) or env.get(contract.ENV_DEPLOYMENT) or "model"
    version, number = _version(model, env.get(contract.ENV_VERSION) or "1")
    return ModelSettings(
        bundle=bundle,
        digest=env.get(contract.ENV_DIGEST) or None,
        namespace=env.get(contract.ENV_NAMESPACE) or "default",
        deployment=env.get(contract.ENV_DEPLOYMENT) or model,
        model=model,
        version=version,
        number=number,
        feedback_keys=env.get(contract.ENV_FEEDBACK_KEYS) or None,
        allow_code=env.get(contract.ENV_ALLOW_CODE) == "1",
        payload_log=parse(log) if (log := env.get(contract.ENV_PAYLOAD_LOG)) else None,
        warm_up=warmup.read(env),
        trust=signing.read(env),
    )


def _version(model: str, value: str) -> tuple[str, str]:
    """(`flight-delay-4`, `4`) from either of the two."""
    tail = value.rsplit("-", 1)[-1]
    return (f"{model}-{value}", value) if value.isdigit() else (value, tail if tail.isdigit() else value)
