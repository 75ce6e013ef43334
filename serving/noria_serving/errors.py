"""What can go wrong with a bundle, its data or its place, each with a reason that a condition or an Event can
carry.

A reason is a word for machines, the message a sentence for people: what happened, to which object, what to do
next.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a bundle, a data set or a job of ours was refused."""

    NOT_FOUND = "ArtifactNotFound"
    """Nothing is stored at the stated location."""
    DIGEST_MISMATCH = "DigestMismatch"
    """Bytes differ from the digest that was registered: changed, truncated or the wrong bundle."""
    SIGNATURE_MISSING = "SignatureMissing"
    """Models must be signed here, and nobody signed this one."""
    SIGNATURE_INVALID = "SignatureInvalid"
    """model.sig is no signature with a trusted key over exactly the files that are there."""
    MANIFEST_INVALID = "ManifestInvalid"
    """noria.json is missing a field, or says something this version does not understand."""
    FILES_DIFFER = "FilesDiffer"
    """The files that are there are not exactly those that the manifest lists."""
    PATH_UNSAFE = "PathUnsafe"
    """A symlink, a special file or a name that leads out of the bundle."""
    TOO_LARGE = "TooLarge"
    """Over the cap on size, number of files or entries."""
    FORMAT_REFUSED = "FormatRefused"
    """The format is not on the allow-list, or the bytes are not what the format says."""
    MODEL_INVALID = "ModelInvalid"
    """The model's runtime cannot load it, or its inputs and outputs contradict the signature."""
    GOLDEN_MISMATCH = "GoldenMismatch"
    """The loaded model does not give the answers that were stored with it."""
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    """The store did not answer, or refused the credentials; trying again may help."""
    ADDRESS_REFUSED = "AddressRefused"
    """The URI leads to an address that pods may not fetch from."""
    MISSING_DEPENDENCY = "MissingDependency"
    """A library that this model needs is not installed."""
    DATA_INVALID = "DataInvalid"
    """Rows cannot be read, or lack a column that is needed."""
    NO_ROWS = "NoRows"
    """The selection left no labelled row."""
    METRIC_UNDEFINED = "MetricUndefined"
    """A metric came out as NaN or infinite, for example AUC with labels of one class only."""
    CONFIGURATION = "ConfigurationInvalid"
    """An environment variable is missing or malformed."""
    INTERNAL = "InternalError"
    """A fault of ours."""


class NoriaError(Exception):
    """A refusal with a reason; `str()` is the message, which every protocol and file can carry."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        self.message = unicode(message)
        super().__init__(self.message)


def unicode(text: str) -> str:
    """Text without the halves of characters that stand for bytes of a file's name, or come from JSON."""
    return text.encode(errors="replace").decode()
