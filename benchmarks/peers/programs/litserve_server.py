"""LitServe around one model file, with the V2 body decoded by hand; runs in its environment."""

import sys

import joblib
import litserve
import numpy as np
import onnxruntime


class Api(litserve.LitAPI):
    """Labels for the rows of the first input."""

    def __init__(self, path):
        super().__init__(api_path="/infer")
        self._path = path

    def setup(self, device):
        if self._path.endswith(".onnx"):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
            self._predict = lambda rows: session.run(["label"], {session.get_inputs()[0].name: rows})[0]
        else:
            self._predict = joblib.load(self._path).predict

    def decode_request(self, request):
        tensor = request["inputs"][0]
        return np.asarray(tensor["data"], dtype=np.float32).reshape(tensor["shape"])

    def predict(self, rows):
        return self._predict(rows)

    def encode_response(self, labels):
        tensor = {"name": "label", "shape": [len(labels)], "datatype": "INT64", "data": labels.tolist()}
        return {"model_name": "model", "outputs": [tensor]}


if __name__ == "__main__":
    litserve.LitServer(Api(sys.argv[1]), accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
