"""The floor: one ASGI function around the model, with no validation, counters, tokens or logs. A bound on
what a Python server can reach, not a competitor. JSON and binary tensors.
"""

import sys

import joblib
import numpy as np
import onnxruntime
import orjson
import uvicorn

JSON = (b"content-type", b"application/json")


def opened(path):
    """A function from rows to labels."""
    if not path.endswith(".onnx"):
        return joblib.load(path).predict
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(["label"], {session.get_inputs()[0].name: rows})[0]


class App:
    """Every request is an inference request."""

    def __init__(self, predict):
        self._predict = predict

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["method"] == "GET":
            await self._answer(send, b"{}", [])
            return
        split = next((v for k, v in scope["headers"] if k == b"inference-header-content-length"), None)
        head = orjson.loads(body if split is None else body[: int(split)])
        tensor = head["inputs"][0]
        if split is None:
            rows = np.asarray(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        else:
            rows = np.frombuffer(body, np.float32, offset=int(split)).reshape(tensor["shape"])
        labels = self._predict(rows)
        output = {"name": "label", "shape": labels.shape, "datatype": "INT64"}
        if split is None:
            output["data"] = labels
            text = orjson.dumps({"model_name": "m", "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
            await self._answer(send, text, [])
        else:
            output["parameters"] = {"binary_data_size": labels.nbytes}
            text = orjson.dumps({"model_name": "m", "outputs": [output]})
            length = (b"inference-header-content-length", str(len(text)).encode())
            await self._answer(send, text + labels.tobytes(), [length])

    async def _answer(self, send, body, headers):
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [JSON, length, *headers]})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        App(opened(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), http="httptools", loop="uvloop",
        lifespan="off", access_log=False, log_level="warning", server_header=False, date_header=False,
    )  # fmt: skip
