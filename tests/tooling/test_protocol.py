"""The code of the gRPC messages is what their .proto files say, and shares its names with nobody."""

from __future__ import annotations

from google.protobuf import descriptor_pool
from tools import protocol

from noria_serving.protocol import health_pb2, inference_pb2


def test_the_checked_in_code_is_the_generated_one() -> None:
    assert protocol.outdated() == []


def test_another_client_of_the_same_protocol_can_be_imported_beside_it() -> None:
    shared = descriptor_pool.Default()
    for module in (inference_pb2, health_pb2):
        assert module.DESCRIPTOR.pool is not shared
