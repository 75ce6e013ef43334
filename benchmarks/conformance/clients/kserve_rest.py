"""KServe's own REST client, protocols V2 and V1."""

import numpy as np
import outcome
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def client(protocol="v2"):
    return InferenceRESTClient(RESTConfig(protocol=protocol, timeout=20))


def request(target, *, binary, wanted=None):
    values = np.array(target.rows, np.float32)
    tensor = InferInput(target.input, list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary)
    outputs = None if wanted is None else [RequestedOutput(target.label, {"binary_data": wanted})]
    return InferRequest(target.model, [tensor], request_id="request-7", request_outputs=outputs)


async def infer(target, **how):
    answer = await client().infer(f"http://{target.http}", request(target, **how), model_name=target.model)
    outputs = {output.name: output for output in answer.outputs}
    outcome.same_labels(target, outputs[target.label].as_numpy())
    assert answer.id == "request-7", answer.id


async def check_server_is_live(target):
    assert await client().is_server_live(f"http://{target.http}") is True


async def check_server_is_ready(target):
    assert await client().is_server_ready(f"http://{target.http}") is True


async def check_model_is_ready(target):
    assert await client().is_model_ready(f"http://{target.http}", target.model) is True


async def check_json(target):
    await infer(target, binary=False)


async def check_binary(target):
    await infer(target, binary=True)


async def check_binary_in_binary_out(target):
    await infer(target, binary=True, wanted=True)


async def check_binary_in_json_out(target):
    await infer(target, binary=True, wanted=False)


async def check_v1_server_is_live(target):
    assert await client("v1").is_server_live(f"http://{target.http}") is True


async def check_v1_model_is_ready(target):
    assert await client("v1").is_model_ready(f"http://{target.http}", target.model) is True


async def check_v1_predict(target):
    answer = await client("v1").infer(
        f"http://{target.http}", {"instances": target.rows}, model_name=target.model
    )
    # A model with several outputs answers an object a row, as TensorFlow Serving began it.
    rows = [row[target.label] if isinstance(row, dict) else row for row in answer["predictions"]]
    outcome.same_labels(target, np.array(rows))


outcome.main(globals())
