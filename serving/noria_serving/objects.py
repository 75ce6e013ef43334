"""Bundles and rows in an object store (`s3://`, `gs://` or `az://bucket/prefix`), through obstore.

Credentials and endpoint come from the Secret of the location (credentials.py), else from the variables of the
pod (AWS_*, GOOGLE_*, AZURE_*), never from a bundle or a user object; what a store says about a refused
signature (key id, the string that was signed) goes into no message.
Content is streamed; names outside the prefix cannot be asked for, because callers only ask for names that a
listing gave.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from noria_serving import credentials
from noria_serving.errors import NoriaError, Reason

STORES: Final = ("s3://", "gs://", "az://")
_STORE_OF: Final = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}
_PREFIXES: Final = {"s3": ("aws_",), "gs": ("google_",), "az": ("azure_storage_", "azure_")}
_SETTINGS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset(
        [
            "access_key_id",
            "secret_access_key",
            "session_token",
            "region",
            "default_region",
            "endpoint",
            "endpoint_url",
            "virtual_hosted_style_request",
            "skip_signature",
            "unsigned_payload",
            "checksum_algorithm",
            "request_payer",
            "role_arn",
            "role_session_name",
            "web_identity_token_file",
            "server_side_encryption",
            "sse_kms_key_id",
            "sse_bucket_key_enabled",
        ]
    ),
    "gs": frozenset(
        [
            "service_account",
            "service_account_key",
            "base_url",
            "bearer_token",
            "application_credentials",
            "skip_signature",
        ]
    ),
    "az": frozenset(
        [
            "account_name",
            "account_key",
            "client_id",
            "client_secret",
            "tenant_id",
            "authority_host",
            "sas_key",
            "sas_token",
            "token",
            "use_emulator",
            "endpoint",
            "msi_endpoint",
            "object_id",
            "msi_resource_id",
            "federated_token_file",
            "skip_signature",
        ]
    ),
}
_CLIENT_SETTINGS: Final = frozenset(
    {"allow_http", "allow_invalid_certificates", "connect_timeout", "timeout"}
)
"""What obstore takes of the variables of a Secret, as it would from the environment; the rest is for other
tools."""
_S3_ERROR: Final = re.compile(r"<Code>(\w+)</Code>(?:\s*<Message>([^<]*)</Message>)?")
_REFUSED: Final = re.compile(r"status code: 40[13]\b|<Code>XAdminUserNotFound<")
"""A store that does not know the key answers 403 InvalidAccessKeyId; versitygw answers 404 with a code of its
own."""


def is_store(location: str) -> bool:
    """Whether a location lies in an object store."""
    return location.startswith(STORES)


def open_store(uri: str) -> Any:
    """An obstore store rooted at the URI's prefix."""
    scheme = uri.partition("://")[0]
    try:
        from obstore import store  # noqa: PLC0415  only where a bundle lies in a store
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY,
            f"{scheme}:// needs obstore: pip install 'noria-ml[server]' (or [train])",
        ) from error
    settings = _settings(scheme, credentials.variables(uri))
    try:
        return getattr(store, _STORE_OF[scheme]).from_url(uri.rstrip("/"), **settings)
    except Exception as error:
        raise NoriaError(Reason.CONFIGURATION, f"cannot open {uri}: {error!s:.300}") from error


def _settings(scheme: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Variables of a Secret as obstore's options; they go before the process's own."""
    named: dict[str, str] = {}
    for variable, value in variables.items():
        name = variable.lower()
        for prefix in _PREFIXES[scheme]:
            if name.startswith(prefix):
                named[name.removeprefix(prefix)] = value
                break
    known = _SETTINGS[scheme]
    return {
        "config": {name: value for name, value in named.items() if name in known},
        "client_options": {name: value for name, value in named.items() if name in _CLIENT_SETTINGS},
    }


class ObjectSource:
    """The objects right under a prefix, seen as the files of a bundle."""

    def __init__(self, store: Any) -> None:
        self._store = store

    @classmethod
    def from_uri(cls, uri: str) -> ObjectSource:
        return cls(open_store(uri))

    def sizes(self) -> Mapping[str, int]:
        """Without the folder itself, which consoles make an object of that has no name below it."""
        return {item["path"]: int(item["size"]) for item in list_objects(self._store) if item["path"]}

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            for piece in self._store.get(name).stream():
                yield bytes(piece)
        except FileNotFoundError as error:
            raise NoriaError(Reason.NOT_FOUND, f"no object {name!r}") from error
        except Exception as error:
            raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot read {name!r}: {cause(error)}") from error


def cause(error: Exception) -> str:
    """What a store's client says, in one sentence: the S3 error's code and message where there is one, and
    what to do about it.
    """
    text = str(error)
    found = _S3_ERROR.search(text)
    said = ": ".join(part for part in found.groups() if part) if found else text.partition("\n")[0][:300]
    if _REFUSED.search(text):
        return f"the store refused the credentials, check the keys of the Secret in secretName ({said})"
    if found and found[1] in ("NoSuchBucket", "ContainerNotFound"):
        return f"the bucket does not exist, create it or correct the uri ({said})"
    return said


def list_objects(store: Any, prefix: str | None = None, *, limit: int = 100_000) -> list[Mapping[str, Any]]:
    """Every object under the prefix (`path`, `size`), sorted by path."""
    found: list[Mapping[str, Any]] = []
    try:
        for batch in store.list(prefix):
            found.extend(batch)
            if len(found) > limit:
                break
    except Exception as error:
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot list the store: {cause(error)}") from error
    if len(found) > limit:
        raise NoriaError(Reason.TOO_LARGE, f"more than {limit} objects under the prefix; select fewer")
    return sorted(found, key=lambda item: str(item["path"]))


def upload(store: Any, name: str, path: Path) -> None:
    """Put one file under its name."""
    try:
        store.put(name, path)
    except Exception as error:
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot upload {name!r}: {cause(error)}") from error


def download(store: Any, name: str, target: Path) -> None:
    """Stream one object into a new file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        for piece in ObjectSource(store).chunks(name):
            stream.write(piece)
