"""`mlserver infer`, a batch client that merges requests of a file into micro-batches and splits the
answers.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import outcome

LINES = 40


def infer(target, *arguments):
    """One request a line and row; the answers by line."""
    rows = [target.rows[line % len(target.rows)] for line in range(LINES)]
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder, "in.txt"), Path(folder, "out.txt")
        given.write_text("".join(f"{json.dumps(body(target, row))}\n" for row in rows))
        command = [
            str(Path(sys.executable).with_name("mlserver")),
            "infer",
            "-u",
            target.http,
            "-m",
            target.model,
        ]
        done = subprocess.run(
            [*command, "-i", str(given), "-o", str(written), *arguments],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-400:]
        answers = [json.loads(line) for line in written.read_text().splitlines()]
    assert len(answers) == LINES, f"{len(answers)} answers to {LINES} lines"
    for answer in answers:
        assert "outputs" in answer, str(answer)[:300]
        line = answer["parameters"]["batch_index"]
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        expected = target.labels[line % len(target.labels)]
        assert outputs[target.label] == [expected], f"line {line}: {outputs[target.label]}, not {expected}"


def body(target, row):
    return {"inputs": [{"name": target.input, "shape": [1, len(row)], "datatype": "FP32", "data": row}]}


def check_one_request_a_line(target):
    infer(target, "-w", "2")


def check_micro_batches(target):
    infer(target, "-w", "2", "-s", "8")


def check_binary_tensors(target):
    infer(target, "-w", "2", "-b")


outcome.main(globals())
