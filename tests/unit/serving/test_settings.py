"""What a server reads from its environment."""

from __future__ import annotations

import pytest

from noria_serving.errors import NoriaError, Reason
from noria_serving.settings import read


@pytest.mark.parametrize("name", ["NORIA_PORT", "NORIA_COUNTERS_PORT", "NORIA_GRPC_PORT"])
def test_a_port_beyond_the_last_is_refused_by_name(name: str) -> None:
    with pytest.raises(NoriaError, match=f"{name}='65536': ports end at 65535") as refused:
        read({"NORIA_BUNDLE": "/bundle", name: "65536"})
    assert refused.value.reason is Reason.CONFIGURATION
    assert read({"NORIA_BUNDLE": "/bundle", name: "65535"})


def test_what_is_in_flight_gets_as_long_as_the_pod_says() -> None:
    bundle = {"NORIA_BUNDLE": "/bundle"}
    assert read(bundle).finish_seconds == 20
    assert read({**bundle, "NORIA_FINISH_SECONDS": "290"}).finish_seconds == 290
