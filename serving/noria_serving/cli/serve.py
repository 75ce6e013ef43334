"""`noria-server serve BUNDLE…`: several models, and several versions of one, on a laptop or in any container.

In: what to serve, as `BUNDLE`, `NAME=BUNDLE` or `NAME@VERSION=BUNDLE`. Out: Settings, then a server until it
is told to stop. Without a name a bundle goes by its own; versions of one name that are not given are counted
up in the order of the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from noria_serving import contract, limits, signing, warmup
from noria_serving.artifact import Artifact, open_source
from noria_serving.errors import NoriaError, Reason
from noria_serving.leaving import leave_now
from noria_serving.payload.settings import LogSettings, checked
from noria_serving.settings import LAST_PORT, MAX_BODY, ModelSettings, Settings
from noria_serving.signing import Trust
from noria_serving.supervisor import Parent
from noria_serving.warmup import WarmUp

_NAMED: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<version>[A-Za-z0-9][A-Za-z0-9._-]*))?=(?P<bundle>.+)"
)
_SERVABLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "serve", help="serve bundles over the Open Inference Protocol", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "bundles",
        nargs="+",
        metavar="[NAME[@VERSION]=]BUNDLE",
        help="a directory, or a URI: s3, gs, az, https or oci",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    for name, kind, default, metavar, what in (
        ("http", _port, contract.SERVER_PORT, "PORT", "requests over HTTP; 0: any free one"),
        ("grpc", _grpc_port, contract.GRPC_PORT, "PORT|off", "requests over gRPC"),
        ("metrics", _port, contract.COUNTERS_PORT, "PORT", "/metrics for Prometheus, and /counters"),
    ):
        text = f"{what} (default: %(default)s)"
        parser.add_argument(f"--{name}-port", type=kind, default=default, metavar=metavar, help=text)
    parser.add_argument(
        "--drain-seconds", type=limits.not_negative(float), default=0.0, metavar="S",
        help="how long to go on serving after SIGTERM (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--finish-seconds", type=limits.not_negative(int), default=contract.FINISH_SECONDS, metavar="S",
        help="how long what is in flight may take after that (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-body-bytes", type=limits.not_negative(int), default=MAX_BODY, metavar="N",
        help="bytes of a request, also once it is unpacked (default: %(default)s)",
    )  # fmt: skip
    limits.add(parser)
    warmup.add(parser)
    parser.add_argument(
        "--feedback-keys", metavar="FILE", help="of tokens (default: a key that lives with the process)"
    )
    parser.add_argument(
        "--payload-log", metavar="PLACE", help="write rows as Parquet to a directory or store"
    )
    parser.add_argument("--payload-sample", type=float, default=1.0, metavar="SHARE", help="of predictions")
    parser.add_argument(
        "--payload-redact",
        action="append",
        default=[],
        metavar="[MODEL:]NAME",
        help="of a feature, an embedding or an output, or id: leave it out, of one model or of each",
    )
    parser.add_argument(
        "--repository-writable", action="store_true", help="let clients load and unload models"
    )
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="serve models that run code of their own: python, torch, pickle",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal."""
    settings = Settings(
        models=models(
            arguments.bundles,
            allow_code=arguments.allow_code,
            feedback_keys=arguments.feedback_keys,
            payload_log=_payload_log(arguments),
            warm_up=warmup.chosen(arguments),
            trust=signing.read(os.environ),
        ),
        drain_seconds=arguments.drain_seconds,
        finish_seconds=arguments.finish_seconds,
        host=arguments.host,
        port=arguments.http_port,
        counters_port=arguments.metrics_port,
        grpc_port=arguments.grpc_port,
        max_body=arguments.max_body_bytes,
        limits=limits.chosen(arguments),
        repository_writable=arguments.repository_writable,
    )
    return listen(settings, arguments.parent)


def listen(settings: Settings, parent: Parent) -> int:
    """A server's life; its exit code."""
    import uvloop  # noqa: PLC0415  after the arguments were found good

    from noria_serving.server.lifecycle import Lifecycle  # noqa: PLC0415

    async def life() -> int:
        lifecycle = Lifecycle(settings, parent)
        code = await lifecycle.run()
        if lifecycle.models.busy:  # a thread that never returns would hold up the exit of the interpreter
            leave_now(code)
        return code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(life())


def models(
    specs: Sequence[str],
    *,
    allow_code: bool = False,
    feedback_keys: str | None = None,
    payload_log: LogSettings | None = None,
    warm_up: WarmUp = warmup.NONE,
    trust: Trust = signing.NOBODY,
) -> tuple[ModelSettings, ...]:
    """What the command line names; `ConfigurationInvalid` where two say the same version."""
    named = [_parse(spec) for spec in specs]
    names = {name for name, _, _ in named}
    taken = {(name, version) for name, version, _ in named if version is not None}
    if len(taken) != sum(version is not None for _, version, _ in named):
        raise NoriaError(Reason.CONFIGURATION, "two bundles are given as the same version of the same name")
    chosen = []
    for name, version, bundle in named:
        number = version or _next(name, taken)
        taken.add((name, number))
        chosen.append(
            ModelSettings(
                bundle=bundle, deployment=name, model=name, version=f"{name}-{number}", number=number,
                allow_code=allow_code, feedback_keys=feedback_keys, warm_up=warm_up, trust=trust,
                payload_log=payload_log and replace(payload_log, redact=_of(name, names, payload_log.redact)),
            )
        )  # fmt: skip
    return tuple(chosen)


def _payload_log(arguments: argparse.Namespace) -> LogSettings | None:
    if not arguments.payload_log:
        return None
    redact = tuple(arguments.payload_redact)
    return checked(LogSettings(arguments.payload_log, sample=arguments.payload_sample, redact=redact))


def _of(name: str, names: set[str], redact: Sequence[str]) -> tuple[str, ...]:
    """What one model leaves out: what every one does, and what stands behind its own name."""
    own = []
    for each in redact:
        whose, colon, what = each.partition(":")
        if not colon or whose not in names:
            own.append(each)
        elif whose == name:
            own.append(what)
    return tuple(own)


def _parse(spec: str) -> tuple[str, str | None, str]:
    match = _NAMED.fullmatch(spec)
    if match:
        return match["name"], match["version"], match["bundle"]
    name = Artifact(open_source(spec)).manifest.document.get("name")
    if not isinstance(name, str) or not _SERVABLE.fullmatch(name):
        raise NoriaError(
            Reason.CONFIGURATION,
            f"the bundle {spec} is named {name!r}, which cannot stand in a URL; give it a name: NAME={spec}",
        )
    return name, None, spec


def _next(name: str, taken: set[tuple[str, str]]) -> str:
    number = 1
    while (name, str(number)) in taken:
        number += 1
    return str(number)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a port: give a number from 0 (any free one) to {LAST_PORT}"
        )
    return int(text)


def _grpc_port(text: str) -> int | None:
    return None if text == contract.NO_GRPC else _port(text)
