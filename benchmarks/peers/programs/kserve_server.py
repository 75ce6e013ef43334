"""KServe's SDK around one model file, as its sklearnserver does (which is on no package index).

With --probabilities it answers them beside the labels, from one call of the model, as its documentation shows
for several outputs. With --not-ready the model is not.
"""

import argparse

import joblib
import kserve
import onnxruntime
from kserve.utils.numpy_codec import from_np_dtype
from kserve.utils.utils import get_predict_input, get_predict_response


def both(payload, labels, probabilities, name):
    """An answer of two tensors."""
    outputs = []
    for title, values in (("output-0", labels), ("probabilities", probabilities)):
        output = kserve.InferOutput(title, list(values.shape), from_np_dtype(values.dtype))
        output.set_data_from_numpy(values, binary_data=payload.use_binary_outputs)
        outputs.append(output)
    return kserve.InferResponse(
        payload.id or "", name, outputs, use_binary_outputs=payload.use_binary_outputs
    )


class SklearnModel(kserve.Model):
    """predict() of a joblib file, or predict_proba() and the likeliest classes."""

    def __init__(self, name, path, probabilities):
        super().__init__(name)
        self._model = joblib.load(path)
        self._probabilities = probabilities
        self.ready = True

    def predict(self, payload, headers=None):
        rows = get_predict_input(payload)
        if not self._probabilities:
            return get_predict_response(payload, self._model.predict(rows), self.name)
        probabilities = self._model.predict_proba(rows)
        labels = self._model.classes_[probabilities.argmax(axis=1)]
        return both(payload, labels, probabilities, self.name)


class OnnxModel(kserve.Model):
    """The labels of an ONNX file, or its probabilities, too."""

    def __init__(self, name, path, probabilities):
        super().__init__(name)
        self._outputs = ["label", "probabilities"] if probabilities else ["label"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, payload, headers=None):
        rows = get_predict_input(payload).astype("float32", copy=False)
        answered = self._session.run(self._outputs, {self._session.get_inputs()[0].name: rows})
        if len(answered) > 1:
            return both(payload, *answered, self.name)
        return get_predict_response(payload, answered[0], self.name)


class NotReadyModel(SklearnModel):
    """Refused unless it is ready when the server starts, which then calls `start` to set it up."""

    def start(self):
        self.ready = False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--probabilities", action="store_true", help="answer them beside the labels")
    parser.add_argument("--not-ready", action="store_true", help="answer, but with a model that is not ready")
    args = parser.parse_args()
    kind = OnnxModel if args.model_path.endswith(".onnx") else SklearnModel
    kind = NotReadyModel if args.not_ready else kind
    kserve.ModelServer(
        http_port=args.http_port, grpc_port=args.grpc_port, enable_grpc=args.enable_grpc,
        workers=args.workers, enable_latency_logging=args.enable_latency_logging,
    ).start([kind(args.model_name, args.model_path, args.probabilities)])  # fmt: skip
