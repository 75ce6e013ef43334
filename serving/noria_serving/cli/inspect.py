"""`noria-server inspect BUNDLE`: what a bundle says of itself, every byte checked; no model is loaded."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noria_serving import contract, reference, signature, signing
from noria_serving.artifact import Artifact, open_source
from noria_serving.errors import NoriaError, Reason
from noria_serving.signing import NOBODY, Trust


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser("inspect", help="say what a bundle holds", description=__doc__)
    parser.add_argument("bundle", metavar="BUNDLE", help="a directory, or a URI: s3, gs, az, https or oci")
    parser.add_argument(
        "--trusted-keys",
        type=Path,
        metavar="FILE",
        help="public keys (PEM), one of which must have signed it",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the summary."""
    content = summary(arguments.bundle, _trust(arguments.trusted_keys))
    sys.stdout.write(json.dumps(content, indent=2) + "\n" if arguments.json else _text(content))
    return 0


def _trust(file: Path | None) -> Trust:
    try:
        return Trust(file.read_text(), required=True) if file else signing.read(os.environ)
    except (OSError, ValueError) as error:
        raise NoriaError(Reason.CONFIGURATION, f"the keys in {file} cannot be read: {error}") from error


def summary(location: str, trust: Trust = NOBODY) -> dict[str, Any]:
    """Inputs and outputs, metrics, digest, signer and reference; NoriaError where a file differs from its
    digest, or where one of the trusted keys must have signed and did not.
    """
    artifact = Artifact(open_source(location), trust=trust)
    size = artifact.verify()
    manifest = artifact.manifest
    shape = signature.parse(artifact.document(contract.SIGNATURE))
    bins = reference.parse(artifact.document(contract.REFERENCE))
    claims = artifact.document(contract.METRICS)
    if not isinstance(claims, dict):
        raise NoriaError(Reason.MANIFEST_INVALID, f"{contract.METRICS} is not an object")
    return {
        "name": manifest.document.get("name"),
        "digest": manifest.digest,
        "format": manifest.format,
        "task": manifest.task,
        "classes": list(manifest.classes),
        "labelsOnly": bool(manifest.document.get(contract.LABELS_ONLY)),
        "bytes": size,
        "signer": artifact.signer,
        **shape.as_json(),
        "metrics": claims.get("metrics", {}),
        "parity": claims.get("parity"),
        "conversion": claims.get("conversion", {}),
        "reference": {
            "samples": bins.samples,
            "features": [
                {"name": each.name, "kind": each.kind, "missing": each.missing, **_range(each)}
                for each in bins.features
            ],
        },
    }


def _range(bins: reference.Bins) -> dict[str, Any]:
    if bins.kind != "category":
        return {"low": bins.low, "high": bins.high}
    return {"categories": len(bins.values) + len(bins.known)}


def _conversion(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What became of the model that was handed over; nothing of one that was ONNX already."""
    said = content["conversion"]
    if content["parity"] is not None:
        rows = "held-out rows" if said.get("heldOut") else "its training rows"
        within = f"within {content['parity']} of the"
        of = "every label is that of the" if content["labelsOnly"] else within
        yield "parity", f"{of} model that was converted, on {rows}"
    if said.get("notConverted"):
        yield "not ONNX", str(said["notConverted"])


def _text(content: dict[str, Any]) -> str:
    task = content["task"] + (", labels alone" if content["labelsOnly"] else "")
    told = {**content, "task": task}
    lines = [f"{key:<10} {told[key]}" for key in ("name", "format", "task", "classes", "digest", "bytes")]
    lines.append(f"{'signer':<10} {content['signer'] or 'not checked: give --trusted-keys'}")
    lines += [f"{name:<10} {text}" for name, text in _conversion(content)]
    for key in ("inputs", "outputs"):
        lines += ["", key]
        lines += [f"  {each['name']:<30} {each['datatype']:<7} {each['shape']}" for each in content[key]]
    lines += ["", "metrics", *(f"  {name:<30} {value}" for name, value in content["metrics"].items())]
    features = content["reference"]["features"]
    lines += ["", f"reference  {content['reference']['samples']} rows"]
    for each in features:
        seen = f"{each['low']:g} to {each['high']:g}" if "low" in each else f"{each['categories']} categories"
        lines.append(
            f"  {each['name']:<30} {seen}" + (f", {each['missing']} missing" if each["missing"] else "")
        )
    return "\n".join(lines) + "\n"
