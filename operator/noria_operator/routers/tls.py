"""TLS at the router: certificates from Secrets that its pods mount, taken anew whenever they change.

Comes in: the names of the Secrets. Goes out: a listener around the one for traffic, and a file for each
Secret that tells Envoy where its certificate lies. Invariant: nobody but the router's pods reads a key; a
changed Secret is in force without a restart, certificate and key together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from noria_operator.routers.http import socket

if TYPE_CHECKING:
    from noria_operator.routers.bootstrap import Bootstrap

Json = dict[str, Any]

CERTIFICATE, KEY = "tls.crt", "tls.key"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def listener(traffic: Json, want: Bootstrap) -> Json:
    """The listener for traffic, with TLS at a port of its own."""
    (chain,) = traffic["filter_chains"]
    context = {
        "@type": f"{_TLS}.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [
                {
                    "name": name,
                    "sds_config": {
                        "resource_api_version": "V3",
                        "path_config_source": {"path": f"{want.sds_dir}/{file_name(index)}"},
                    },
                }
                for index, name in enumerate(want.tls)
            ],
        },
    }
    secured = {**chain, "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}
    return {"name": "tls", "address": socket(want.address, want.tls_port), "filter_chains": [secured]}


def files(secrets: Iterable[str], directory: str) -> dict[str, str]:
    """The files that say where certificates are, by name; each Secret is mounted in `directory`."""
    return {file_name(index): json.dumps(_file(name, directory)) for index, name in enumerate(secrets)}


def file_name(index: int) -> str:
    """Of the file for one Secret."""
    return f"tls-{index}.json"


def _file(name: str, directory: str) -> Json:
    where = f"{directory}/{name}"
    certificate = {
        "certificate_chain": {"filename": f"{where}/{CERTIFICATE}"},
        "private_key": {"filename": f"{where}/{KEY}"},
        "watched_directory": {"path": where},
    }
    return {"resources": [{"@type": f"{_TLS}.Secret", "name": name, "tls_certificate": certificate}]}
