"""KServe's own gRPC client: typed contents and raw tensors."""

import grpc
import numpy as np
import outcome
from kserve import InferenceGRPCClient, InferInput, InferRequest


def request(target, *, binary, model=None):
    values = np.array(target.rows, np.float32)
    tensor = InferInput(target.input, list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary)
    return InferRequest(model or target.model, [tensor], request_id="request-7")


async def infer(target, *, binary):
    async with InferenceGRPCClient(target.grpc, timeout=20) as client:
        answer = await client.infer(request(target, binary=binary))
    outputs = {output.name: output for output in answer.outputs}
    outcome.same_labels(target, outputs[target.label].as_numpy())
    assert answer.id == "request-7", answer.id


async def check_server_is_live(target):
    async with InferenceGRPCClient(target.grpc) as client:
        assert await client.is_server_live() is True


async def check_server_is_ready(target):
    async with InferenceGRPCClient(target.grpc) as client:
        assert await client.is_server_ready() is True


async def check_model_is_ready(target):
    async with InferenceGRPCClient(target.grpc) as client:
        assert await client.is_model_ready(target.model) is True


async def check_typed_contents(target):
    await infer(target, binary=False)


async def check_raw_contents(target):
    await infer(target, binary=True)


async def check_unknown_model_is_not_found(target):
    async with InferenceGRPCClient(target.grpc, timeout=20) as client:
        try:
            await client.infer(request(target, binary=False, model="nope"))
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND, error.code()
        else:
            raise AssertionError("an unknown model was answered")


outcome.main(globals())
