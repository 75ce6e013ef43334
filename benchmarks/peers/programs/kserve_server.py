"""KServe's SDK around one model file, as its sklearnserver does (which is on no package index)."""

import argparse

import joblib
import kserve
import onnxruntime
from kserve.utils.utils import get_predict_input, get_predict_response


class SklearnModel(kserve.Model):
    """predict() of a joblib file."""

    def __init__(self, name, path):
        super().__init__(name)
        self._model = joblib.load(path)
        self.ready = True

    def predict(self, payload, headers=None):
        return get_predict_response(payload, self._model.predict(get_predict_input(payload)), self.name)


class OnnxModel(kserve.Model):
    """The labels of an ONNX file."""

    def __init__(self, name, path):
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, payload, headers=None):
        rows = get_predict_input(payload).astype("float32", copy=False)
        (labels,) = self._session.run(["label"], {self._session.get_inputs()[0].name: rows})
        return get_predict_response(payload, labels, self.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--model_path", required=True)
    args = parser.parse_args()
    kind = OnnxModel if args.model_path.endswith(".onnx") else SklearnModel
    kserve.ModelServer(
        http_port=args.http_port, grpc_port=args.grpc_port, enable_grpc=args.enable_grpc,
        workers=args.workers, enable_latency_logging=args.enable_latency_logging,
    ).start([kind(args.model_name, args.model_path)])  # fmt: skip
