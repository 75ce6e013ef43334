"""`noria-server serve` on a laptop: a process that is told everything by its arguments."""

from __future__ import annotations

import signal

import grpc
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.server.process import DEADLINE, REQUEST, free_port, ready
from tests.integration.server.test_grpc_lifecycle import INFERENCE, request

from noria_serving.bundle import Bundle
from noria_serving.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse


async def test_two_versions_answer_at_each_of_the_ports_that_the_command_names(matrix_bundle: Bundle) -> None:
    http, over_grpc, metrics = free_port(), free_port(), free_port()
    bundle = matrix_bundle.path
    arguments = [
        "-m", "noria_serving.main", "serve", f"m={bundle}", f"m@7={bundle}",
        "--http-port", str(http), "--grpc-port", str(over_grpc), "--metrics-port", str(metrics),
    ]  # fmt: skip
    async with (
        ready(bundle, arguments=arguments, port=http, NORIA_GRPC_PORT=str(free_port())) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{over_grpc}") as channel,
    ):
        answers = []
        for version in ("1", "7"):
            answer = (
                await server.client.post(f"/v2/models/m/versions/{version}/infer", content=REQUEST)
            ).json()
            message = ModelInferRequest.FromString(request())
            message.model_version = version
            call = channel.unary_unary(f"{INFERENCE}ModelInfer")
            said = ModelInferResponse.FromString(await call(message.SerializeToString(), timeout=DEADLINE))
            assert (answer["model_version"], said.model_version) == (version, version)
            answers.append(answer["outputs"])
        assert answers[0] == answers[1]
        assert (await server.client.get("/v2/models/m")).json()["versions"] == ["1", "7"]
        told = (await server.client.get(f"http://127.0.0.1:{metrics}/metrics")).text
        counted = {
            (sample.labels["version"], sample.value)
            for family in text_string_to_metric_families(told)
            for sample in family.samples
            if sample.name == "model_requests_total" and sample.labels["outcome"] == "success"
        }
        assert counted == {("m-1", 2.0), ("m-7", 2.0)}
        server.process.send_signal(signal.SIGTERM)
        assert await server.process.wait() == 0
