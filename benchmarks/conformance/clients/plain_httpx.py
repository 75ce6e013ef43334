"""httpx, as an application calls a model without any client library."""

import httpx
import outcome


def url(target, path=""):
    return f"http://{target.http}{path}"


def body(target, data):
    shape = [len(target.rows), len(target.rows[0])]
    return {"inputs": [{"name": target.input, "shape": shape, "datatype": "FP32", "data": data}]}


def labels_of(target, answer):
    assert answer.status_code == 200, f"{answer.status_code} {answer.text:.200}"
    assert answer.headers["content-type"] == "application/json", answer.headers["content-type"]
    return next(o["data"] for o in answer.json()["outputs"] if o["name"] == target.label)


def check_nested_data(target):
    answer = httpx.post(url(target, f"/v2/models/{target.model}/infer"), json=body(target, target.rows))
    assert labels_of(target, answer) == target.labels


def check_flat_data(target):
    flat = [value for row in target.rows for value in row]
    answer = httpx.post(url(target, f"/v2/models/{target.model}/infer"), json=body(target, flat))
    assert labels_of(target, answer) == target.labels


def check_keep_alive(target):
    """A hundred requests, one connection."""
    with httpx.Client(base_url=url(target), limits=httpx.Limits(max_connections=1)) as client:
        for _ in range(100):
            answer = client.post(f"/v2/models/{target.model}/infer", json=body(target, target.rows))
            assert labels_of(target, answer) == target.labels
            assert answer.headers.get("connection", "keep-alive") == "keep-alive", answer.headers


def check_concurrent_requests_get_their_own_answers(target):
    async def run():
        async with httpx.AsyncClient(base_url=url(target), timeout=30) as client:

            async def one(number):
                row, label = number % len(target.rows), target.labels[number % len(target.rows)]
                sent = {"id": str(number), **body(target, target.rows[row])}
                sent["inputs"][0]["shape"] = [1, len(target.rows[row])]
                answer = await client.post(f"/v2/models/{target.model}/infer", json=sent)
                assert labels_of(target, answer) == [label]
                assert answer.json()["id"] == str(number)

            await outcome.asyncio.gather(*(one(number) for number in range(64)))

    return run()


def check_chunked_body(target):
    """No Content-Length: the length is known at the end only."""
    whole = outcome.json.dumps(body(target, target.rows)).encode()
    parts = (whole[i : i + 20] for i in range(0, len(whole), 20))
    answer = httpx.post(url(target, f"/v2/models/{target.model}/infer"), content=parts)
    assert labels_of(target, answer) == target.labels


outcome.main(globals())
