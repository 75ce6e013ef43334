"""The floor over gRPC: one grpc.aio method around the model, raw tensors in and out, nothing checked."""

import asyncio
import sys

import grpc
import numpy as np
from floor_http import opened

from noria_serving.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse

METHOD = "/inference.GRPCInferenceService/ModelInfer"


async def main():
    predict = opened(sys.argv[1])

    async def infer(request, context):
        tensor = request.inputs[0]
        rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(tensor.shape)
        labels = predict(rows)
        answer = ModelInferResponse(model_name="m", raw_output_contents=[labels.tobytes()])
        answer.outputs.add(name="label", datatype="INT64", shape=labels.shape)
        return answer

    handler = grpc.unary_unary_rpc_method_handler(
        infer, ModelInferRequest.FromString, ModelInferResponse.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{sys.argv[2]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
