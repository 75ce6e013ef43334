"""tritonclient over gRPC: health, metadata, raw tensors, streams, the repository index, status codes."""

import queue

import numpy as np
import outcome
import tritonclient.grpc as triton


def client(target):
    return triton.InferenceServerClient(target.grpc)


def rows(target, values=None):
    values = np.array(target.rows, np.float32) if values is None else values
    tensor = triton.InferInput(target.input, list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    return [tensor]


def infer(target, **more):
    outputs = [triton.InferRequestedOutput(target.label)]
    answer = client(target).infer(target.model, rows(target), outputs=outputs, **more)
    outcome.same_labels(target, answer.as_numpy(target.label))
    return answer


def status_of(call):
    return outcome.raises(triton.InferenceServerException, call).status()


def check_server_is_live(target):
    assert client(target).is_server_live() is True


def check_server_is_ready(target):
    assert client(target).is_server_ready() is True


def check_server_metadata(target):
    metadata = client(target).get_server_metadata(as_json=True)
    assert metadata["name"] and metadata["version"], metadata


def check_model_is_ready(target):
    assert client(target).is_model_ready(target.model) is True


def check_model_version_is_ready(target):
    assert client(target).is_model_ready(target.model, target.version) is True


def check_model_metadata_names_the_input(target):
    metadata = client(target).get_model_metadata(target.model)
    tensors = {tensor.name: tensor for tensor in metadata.inputs}
    assert list(tensors[target.input].shape) == [-1, len(target.rows[0])], metadata
    assert target.label in [tensor.name for tensor in metadata.outputs], metadata


def check_infer(target):
    infer(target)


def check_infer_without_named_outputs(target):
    answer = client(target).infer(target.model, rows(target))
    outcome.same_labels(target, answer.as_numpy(target.label))


def check_infer_on_a_version(target):
    infer(target, model_version=target.version)


def check_request_id_comes_back(target):
    answer = infer(target, request_id="request-7").get_response()
    assert answer.id == "request-7", answer


def check_parameters_are_taken(target):
    infer(target, parameters={"tenant": "a", "level": 2, "dry": True})


def check_gzip_is_taken(target):
    many = np.tile(np.array(target.rows, np.float32), (500, 1))
    answer = client(target).infer(target.model, rows(target, many), compression_algorithm="gzip")
    outcome.same_labels(target, answer.as_numpy(target.label)[: len(target.rows)])


def check_repository_index(target):
    index = client(target).get_model_repository_index(as_json=True)["models"]
    assert {entry["name"]: entry["state"] for entry in index} == {target.model: "READY"}, index


def check_unknown_model_is_not_found(target):
    status = status_of(lambda: client(target).infer("nope", rows(target)))
    assert status == "StatusCode.NOT_FOUND", status


def check_unknown_version_is_not_found(target):
    status = status_of(lambda: client(target).infer(target.model, rows(target), model_version="99"))
    assert status == "StatusCode.NOT_FOUND", status


def check_wrong_shape_is_an_invalid_argument(target):
    wrong = rows(target, np.zeros((1, 3), np.float32))
    status = status_of(lambda: client(target).infer(target.model, wrong))
    assert status == "StatusCode.INVALID_ARGUMENT", status


def check_four_megabytes_are_taken(target):
    """gRPC's own limit; the protocol has none."""
    many = np.tile(np.array(target.rows, np.float32), (200_000, 1))
    answer = client(target).infer(target.model, rows(target, many))
    assert len(answer.as_numpy(target.label)) == len(many)


def stream(target, *requests):
    """What comes back for requests on one stream: (result, error), in order."""
    answers = queue.Queue()
    with client(target) as one:
        one.start_stream(callback=lambda result, error: answers.put((result, error)))
        for number, inputs in enumerate(requests):
            one.async_stream_infer(target.model, inputs, request_id=str(number))
        return [answers.get(timeout=20) for _ in requests]


def check_stream_answers_in_order(target):
    answers = stream(target, *[rows(target)] * 20)
    assert [error for _, error in answers if error] == []
    assert [result.get_response().id for result, _ in answers] == [str(number) for number in range(20)]
    outcome.same_labels(target, answers[-1][0].as_numpy(target.label))


def check_stream_outlives_a_bad_request(target):
    wrong = rows(target, np.zeros((1, 3), np.float32))
    (_, first), (_, second), (third, last) = stream(target, rows(target), wrong, rows(target))
    assert first is None and second is not None and last is None, (first, second, last)
    outcome.same_labels(target, third.as_numpy(target.label))


outcome.main(globals())
