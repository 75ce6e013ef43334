"""What is sent for an occurrence: the body, and the headers that let a receiver trust it and drop doubles.

Comes in: an occurrence, the format, the key. Goes out: bytes and headers. Invariant: the same occurrence
makes the same body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from noria_operator.api import names
from noria_operator.api.types import format_time
from noria_operator.domain.notification_targets import Format, InvalidTarget
from noria_operator.domain.notifications import TROUBLE, Occurrence

KEY_PREFIX = "whsec_"
SHORTEST_KEY = 24
"""Bytes that Standard Webhooks asks of a key."""


def body_of(one: Occurrence, format_: Format) -> tuple[str, bytes]:
    """The content type and the body."""
    if format_ is Format.SLACK:
        return "application/json", _dumped(_slack(one))
    return "application/cloudevents+json; charset=utf-8", _dumped(_cloud_event(one))


def signature(key: bytes, id_: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks (standardwebhooks.com, version 1): HMAC-SHA256 over id, time, body."""
    seconds = str(int(at.timestamp()))
    digest = hmac.digest(key, f"{id_}.{seconds}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": id_,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def key_of(text: str) -> bytes:
    """The key in its usual spelling, `whsec_` and base64; raises `InvalidTarget`."""
    try:
        key = base64.b64decode(text.strip().removeprefix(KEY_PREFIX), validate=True)
    except binascii.Error as error:
        raise InvalidTarget("the signing key is no base64") from error
    if len(key) < SHORTEST_KEY:
        raise InvalidTarget(f"the signing key has {len(key)} bytes; {SHORTEST_KEY} are the least")
    return key


def _cloud_event(one: Occurrence) -> dict[str, Any]:
    place = f"/apis/{names.API_VERSION}/namespaces/{one.namespace}"
    return {
        "specversion": "1.0",
        "id": one.id,
        "source": f"{place}/{names.PLURALS[one.kind]}/{one.name}",
        "type": f"dev.noria.{one.type}",
        "subject": one.version or one.name,
        "time": format_time(one.at),
        "datacontenttype": "application/json",
        "data": {
            "kind": one.kind,
            "namespace": one.namespace,
            "name": one.name,
            "uid": one.uid,
            "version": one.version,
            "severity": "warning" if one.type in TROUBLE else "info",
            "message": one.message,
        },
    }


def _slack(one: Occurrence) -> dict[str, Any]:
    mark = ":warning:" if one.type in TROUBLE else ":information_source:"
    place = f"{one.kind} {one.namespace}/{one.name}"
    return {"text": f"{mark} *{one.type}* {_escaped(place)}: {_escaped(one.message)}"}


def _escaped(text: str) -> str:
    """As Slack's documentation asks: what quotes a container must not mention people or hide links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _dumped(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
