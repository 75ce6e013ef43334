"""What a training run reads: data sets, and which of their partitions.

Comes in: entries of `spec.data` as users write them. Goes out: frozen, validated models. Invariant: an entry
says where its data lies and how it may be read, nothing of what is done with it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from noria_operator.api.locations import StoreLocation
from noria_operator.api.schema import Rule, Spec
from noria_operator.api.types import Digest, Identifier, ObjectName


class Select(Spec):
    """Which hive-style partitions (`key=value` directories) of a data set to take."""

    by: Identifier = Field(
        description="The partition key: directories are named <by>=<value>, for example day."
    )
    last: int = Field(ge=1, le=100_000, description="How many of the newest values to take, for example 60.")
    skip: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="How many of the newest values to leave out first. Default: 0.",
    )


class Data(Spec):
    """A data set that the training container reads."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=32,
            pattern=r"^[a-z][a-z0-9_]*$",
            description="Name of the data set; the container finds it as NORIA_DATA_<NAME>, for example "
            "train.",
        ),
        Rule(
            cel="!self.endsWith('_select')",
            message="must not end in _select: NORIA_DATA_<NAME>_SELECT is taken; choose another name",
            holds=lambda name: not name.endswith("_select"),
        ),
    ]
    uri: StoreLocation = Field(
        description="Where the data lies: pvc://<claim>/<path>, or s3://, gs:// or az://<bucket>/<prefix>, "
        "for example pvc://lake/flights."
    )
    digest: Digest | None = Field(
        default=None,
        description="Expected digest, recorded in the lineage, for example md5:<32 hex digits>. Absent: "
        "not stated.",
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret with the keys of the store, seen by the pods only, for this location alone. "
        "Absent: none.",
    )
    select: Select | None = Field(
        default=None,
        description="Take only the newest partitions; chosen once, before the run begins. Absent: all.",
    )


def one_secret_each(data: list[Data]) -> bool:
    """Whether no two entries with the same uri name different Secrets."""
    named = {(source.uri.rstrip("/"), source.secret_name) for source in data if source.secret_name}
    return len(named) == len({uri for uri, _ in named})
