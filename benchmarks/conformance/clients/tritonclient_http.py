"""tritonclient over HTTP: health, metadata, JSON and binary tensors, the repository index, errors."""

import numpy as np
import outcome
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio


def client(target):
    return triton.InferenceServerClient(target.http)


def rows(target, *, binary):
    values = np.array(target.rows, np.float32)
    tensor = triton.InferInput(target.input, list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary)
    return [tensor]


def label(target, *, binary):
    return [triton.InferRequestedOutput(target.label, binary_data=binary)]


def infer(target, *, sent, wanted, **more):
    outputs = None if wanted is None else label(target, binary=wanted)
    answer = client(target).infer(target.model, rows(target, binary=sent), outputs=outputs, **more)
    outcome.same_labels(target, answer.as_numpy(target.label))
    return answer


def check_server_is_live(target):
    assert client(target).is_server_live() is True


def check_server_is_ready(target):
    assert client(target).is_server_ready() is True


def check_server_metadata(target):
    metadata = client(target).get_server_metadata()
    assert metadata["name"] and metadata["version"], metadata
    assert isinstance(metadata["extensions"], list), metadata


def check_server_metadata_announces_binary_tensors_and_the_repository(target):
    extensions = client(target).get_server_metadata()["extensions"]
    assert {"binary_tensor_data", "model_repository"} <= set(extensions), extensions


def check_model_is_ready(target):
    assert client(target).is_model_ready(target.model) is True


def check_model_version_is_ready(target):
    assert client(target).is_model_ready(target.model, target.version) is True


def check_unknown_model_is_not_ready(target):
    assert client(target).is_model_ready("no-such-model") is False


def check_model_metadata_names_the_input(target):
    metadata = client(target).get_model_metadata(target.model)
    tensors = {tensor["name"]: tensor for tensor in metadata["inputs"]}
    assert tensors[target.input]["datatype"] in ("FP32", "FP64"), metadata
    assert tensors[target.input]["shape"] == [-1, len(target.rows[0])], metadata
    assert target.label in [tensor["name"] for tensor in metadata["outputs"]], metadata


def check_metadata_of_a_version(target):
    assert client(target).get_model_metadata(target.model, target.version)["name"] == target.model


def check_json_in_json_out(target):
    infer(target, sent=False, wanted=False)


def check_json_in_binary_out(target):
    infer(target, sent=False, wanted=True)


def check_binary_in_json_out(target):
    infer(target, sent=True, wanted=False)


def check_binary_in_binary_out(target):
    infer(target, sent=True, wanted=True)


def check_json_in_without_named_outputs(target):
    infer(target, sent=False, wanted=None)


def check_binary_in_without_named_outputs(target):
    infer(target, sent=True, wanted=None)


def check_infer_on_a_version(target):
    infer(target, sent=False, wanted=False, model_version=target.version)


def check_request_id_comes_back(target):
    answer = infer(target, sent=True, wanted=True, request_id="request-7").get_response()
    assert answer["id"] == "request-7", answer


def check_parameters_are_taken(target):
    infer(target, sent=False, wanted=False, parameters={"tenant": "a", "level": 2, "dry": True})


def check_gzip_and_deflate_are_taken(target):
    for packing in ("gzip", "deflate"):
        infer(target, sent=True, wanted=True, request_compression_algorithm=packing)


def check_asynchronous_client(target):
    async def run():
        async with triton_aio.InferenceServerClient(target.http) as opened:
            answer = await opened.infer(
                target.model, rows(target, binary=True), outputs=label(target, binary=True)
            )
            outcome.same_labels(target, answer.as_numpy(target.label))

    return run()


def check_repository_index(target):
    index = client(target).get_model_repository_index()
    states = {entry["name"]: entry["state"] for entry in index}
    assert states == {target.model: "READY"}, index
    assert all(isinstance(entry["reason"], str) for entry in index), index


def check_unknown_model_is_told(target):
    error = outcome.raises(
        triton.InferenceServerException, lambda: client(target).infer("nope", rows(target, binary=False))
    )
    assert "404" in str(error.status()) and error.message(), error


def check_wrong_shape_is_told(target):
    def call():
        tensor = triton.InferInput(target.input, [1, 3], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 3), np.float32), binary_data=True)
        client(target).infer(target.model, [tensor])

    error = outcome.raises(triton.InferenceServerException, call)
    assert "400" in str(error.status()) and "shape" in error.message().lower(), error


outcome.main(globals())
