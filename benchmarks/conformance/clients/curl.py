"""curl, as the documentation shows it: its own Content-Type (a form), no client library."""

import json
import subprocess

import outcome


def curl(*arguments, stdin=b""):
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "20", *arguments], input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-300:]
    return json.loads(done.stdout)


def body(target):
    shape = [len(target.rows), len(target.rows[0])]
    tensor = {"name": target.input, "shape": shape, "datatype": "FP32", "data": target.rows}
    return json.dumps({"inputs": [tensor]}).encode()


def infer(target, *arguments, stdin):
    url = f"http://{target.http}/v2/models/{target.model}/infer"
    answer = curl(*arguments, "--data-binary", "@-", url, stdin=stdin)
    labels = next((o["data"] for o in answer.get("outputs", []) if o["name"] == target.label), answer)
    assert labels == target.labels, labels


def check_server_metadata(target):
    assert curl(f"http://{target.http}/v2")["name"]


def check_infer(target):
    infer(target, "-H", "Content-Type: application/json", stdin=body(target))


def check_infer_with_the_default_content_type(target):
    infer(target, stdin=body(target))


def check_expect_100_continue(target):
    """curl asks before it sends a large body; a server that does not answer costs a second each time."""
    infer(target, "-H", "Content-Type: application/json", "-H", "Expect: 100-continue",
          "--expect100-timeout", "15", "--max-time", "10", stdin=body(target))  # fmt: skip


def check_http_1_0(target):
    infer(target, "--http1.0", "-H", "Content-Type: application/json", stdin=body(target))


outcome.main(globals())
