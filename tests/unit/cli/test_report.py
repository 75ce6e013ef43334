"""Reports: pages that load nothing, show what stands in the objects, and escape what anybody wrote."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from noria_operator.cli.cluster import CommandError
from noria_operator.cli.main import parser, run
from noria_operator.cli.report.command import made, write
from noria_operator.cli.report.decisions import deployment_report, training_report
from noria_operator.cli.report.page import table
from noria_operator.cli.report.pictures import Bar, bars, timeline
from noria_operator.cli.report.run import run_report
from noria_operator.cli.report.version import Found, report

Json = dict[str, Any]


def version(number: int, **spec: Any) -> Json:
    body = {
        "model": "flight-delay",
        "artifact": {"format": "onnx", "digest": f"sha256:{number:064d}", "uri": "pvc://models/x"},
        "signature": {"inputs": [{"name": "x"}]},
        **spec,
    }
    meta = {"name": f"flight-delay-{number}", "creationTimestamp": "2026-03-01T00:00:00Z"}
    status = {"phase": "Approved", "history": [{"at": "2026-03-01T00:01:00Z", "from": "", "to": "Approved"}]}
    return {"kind": "ModelVersion", "metadata": meta, "spec": body, "status": status}


PARENT = version(3, lineage={"params": {"depth": "5"}, "seed": 7})
CHILD = version(
    4,
    lineage={
        "parent": "flight-delay-3",
        "trainingJob": {"name": "run-4", "uid": "u"},
        "params": {"depth": "6"},
        "seed": 7,
        "data": [
            {
                "name": "train",
                "partitions": {"by": "day", "oldest": "2026-01-01", "newest": "2026-02-01", "count": 32},
            }
        ],
        "trigger": {
            "reason": "Performance", "name": "quality", "value": "0.61", "threshold": "0.65",
            "interval": "0.58 to 0.64", "samples": 1200, "at": "2026-03-01T00:00:00Z",
        },
    },
    evaluation={
        "metrics": {"auc": "0.71", "accuracy": "0.8", "ece": "0.02"},
        "rows": 5000,
        "versus": {
            "version": "flight-delay-3",
            "metrics": {"auc": "0.68", "accuracy": "0.79", "ece": "0.03"},
            "errors": {"auc": "0.01", "accuracy": "0.004"},
        },
        "slices": [
            {"feature": "origin", "group": "EWR", "rows": 1700, "metric": "auc", "challenger": "0.7",
             "champion": "0.69", "error": "0.012"},
        ],
    },
)  # fmt: skip
RUN = {
    "kind": "TrainingJob",
    "metadata": {"name": "run-4", "uid": "u"},
    "spec": {"model": "flight-delay"},
    "status": {
        "modelVersion": "flight-delay-4",
        "gates": [{"metric": "auc", "result": "Pass", "detail": "0.71 >= 0.65"}],
    },
}
REFUSED: Json = {
    "kind": "TrainingJob",
    "metadata": {"name": "run-5"},
    "spec": {
        "model": "flight-delay", "image": "trainer@sha256:ab", "params": {"depth": "6"},
        "data": [{"name": "train", "uri": "pvc://rows/train"}],
    },
    "status": {
        "phase": "Failed", "message": "the model is not good enough: auc",
        "startTime": "2026-03-02T00:00:00Z", "completionTime": "2026-03-02T00:10:00Z",
        "conditions": [{"type": "Failed", "status": "True", "reason": "GateFailed"}],
        "trigger": {
            "reason": "DataChange", "name": "new-rows", "value": "sha256:0123456789ab",
            "threshold": "sha256:ba9876543210", "samples": 31, "at": "2026-03-02T00:00:00Z",
        },
        "dataQuality": {
            "result": "Warn", "message": "1 finding in 9000 rows", "rows": 9000, "against": "flight-delay-3",
            "violations": [{"name": "dep", "check": "completeness", "value": "0.2", "threshold": "0.1"}],
        },
        "resolved": {"data": [
            {"name": "train", "rows": 9000, "partitions":
                {"by": "day", "oldest": "2026-02-01", "newest": "2026-03-01", "count": 29}},
        ]},
        "claims": {"loss": "0.41"},
        "evaluation": {
            "rows": 5000, "championVersion": "flight-delay-3",
            "challenger": {"auc": "0.66", "accuracy": "0.78"},
            "champion": {"auc": "0.68", "accuracy": "0.79"}, "errors": {"auc": "0.007"},
            "slices": [{"feature": "origin", "group": "JFK", "rows": 900, "metric": "auc",
                        "challenger": "0.6", "champion": "0.69", "error": "0.01"}],
        },
        "gates": [{"metric": "auc", "result": "Fail", "detail": "0.66 against 0.68 of champion"}],
    },
}  # fmt: skip
DEPLOYMENT: Json = {
    "kind": "ModelDeployment",
    "metadata": {"name": "flight-delay"},
    "spec": {"model": "flight-delay"},
    "status": {
        "phase": "RolledBack",
        "stable": {"version": "flight-delay-3", "name": "flight-delay-3-aaaaaa"},
        "traffic": [{"version": "flight-delay-3", "name": "flight-delay-3-aaaaaa", "weight": 100}],
        "candidate": {"version": "flight-delay-5", "name": "flight-delay-5-bbbbbb", "revision": "bbbbbb"},
        "analysis": {
            "version": "flight-delay-5",
            "verdict": "Hold",
            "message": "errors: too few requests of flight-delay-5",
            "challenger": {"requests": 7, "errors": 0},
        },
        "decisions": [
            {
                "version": "flight-delay-3", "decision": "Promoted", "at": "2026-03-01T00:00:00Z",
                "evidence": {
                    "verdict": "Pass", "message": "errors: as few as flight-delay-2",
                    "champion": {"requests": 400, "errors": 1}, "challenger": {"requests": 440, "errors": 1},
                },
            },
            {
                "version": "flight-delay-4", "decision": "Rejected", "at": "2026-03-01T00:20:00Z",
                "evidence": {
                    "verdict": "Fail", "message": "errors: e_harm 300",
                    "champion": {"requests": 900, "errors": 3}, "challenger": {"requests": 100, "errors": 20},
                    "measures": [
                        {"name": "errors", "verdict": "Fail", "message": "too many",
                         "figures": {"logEHarm": "5.7"}},
                    ],
                },
            },
        ],
        "rejected": [
            {"version": "flight-delay-4", "reason": "errors: too many", "at": "2026-03-01T00:20:00Z"}
        ],
        "history": [
            {"at": "2026-03-01T00:00:00Z", "event": "Promoted", "version": "flight-delay-3", "message": "m"},
            {"at": "2026-03-01T00:10:00Z", "event": "RolloutStarted", "version": "flight-delay-4"},
            {"at": "2026-03-01T00:20:00.123456Z", "event": "RolledBack", "version": "flight-delay-4"},
        ],
    },
}  # fmt: skip
TRAINING: Json = {
    "kind": "ContinuousTraining",
    "metadata": {"name": "loop"},
    "spec": {"deployment": "flight-delay"},
    "status": {
        "triggers": [
            {
                "name": "quality", "decision": "Fire", "value": "0.61", "threshold": "0.65", "best": "0.7",
                "samples": 1200, "message": "auc 0.61 is worse", "interval": "0.58 to 0.64",
                "windowLength": "1h", "windowEndedAt": "2026-03-01T00:00:00Z",
            },
            {
                "name": "drift", "decision": "Warn", "value": "0.4", "threshold": "0.3", "samples": 900,
                "columns": [
                    {
                        "name": "humid", "value": "0.26", "threshold": "0.2", "floor": "0.03", "samples": 880,
                        "drifted": True,
                    },
                ],
            },
            {
                "name": "data", "decision": "No", "value": "md5:ab", "message": "nothing new",
                "problem": "counts cannot be read from mimir: 503",
            },
        ],
        "runs": [
            {"at": "2026-03-01T00:00:00Z", "trigger": "quality", "trainingJob": "r", "result": "RolledBack"},
            {"at": "2026-03-02T00:00:00Z", "trigger": "quality", "trainingJob": "run-5"},
        ],
    },
}  # fmt: skip
FOUND = Found(CHILD, PARENT, RUN, [DEPLOYMENT])
PAGES = {
    "version": report(FOUND),
    "first version": report(Found(version(1))),
    "deployment": deployment_report(DEPLOYMENT),
    "training": training_report(TRAINING),
    "refused run": run_report(REFUSED),
    "run that waits": run_report({"kind": "TrainingJob", "metadata": {"name": "r"}, "spec": {"model": "m"}}),
}


class Objects:
    """The objects of one namespace."""

    def __init__(self, *objects: Json) -> None:
        self.objects = objects

    def get(self, kind: str, name: str) -> Json | None:
        return next(
            (one for one in self.objects if (one["kind"], one["metadata"]["name"]) == (kind, name)), None
        )

    def list(self, kind: str) -> list[Json]:
        return [one for one in self.objects if one["kind"] == kind]

    def annotate(self, kind: str, name: str, annotations: dict[str, str]) -> None:
        raise AssertionError("a report changes nothing")


ALL = Objects(CHILD, PARENT, RUN, REFUSED, DEPLOYMENT, TRAINING)


class Words(HTMLParser):
    """The words of a page, and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object", "image", "use"}:
            self.loads.append(tag)
        self.loads += [name for name, _ in attrs if name in {"src", "href", "onload", "xlink:href"}]


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_loads_nothing_and_its_pictures_are_whole(page: str) -> None:
    found = Words(page)
    assert found.loads == []
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|url\(|@import", page)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)


def test_a_version_tells_why_what_changed_how_good_and_what_was_decided() -> None:
    said = " ".join(Words(PAGES["version"]).words)
    for words in (
        "Performance (quality), decided",
        "Measured 0.61 (within 0.58 to 0.64 with 95 %), compared with 0.65, on 1200 rows",
        "2026-01-01 to 2026-02-01 (32)", "Measured on 5000 rows, beside flight-delay-3", "0.71 >= 0.65",
        "Rejected at 2026-03-01T00:20:00Z: errors: too many", "challenger: 20 of 100", "RolledBack",
        "logEHarm", "2026-03-01T00:20:00Z RolledBack", "accuracy are Wilson's",
    ):  # fmt: skip
        assert words in said, words


def test_a_difference_from_the_champion_is_drawn_with_its_bounds_and_what_has_none_is_named() -> None:
    page = PAGES["version"]
    drawn = {
        metric: svg
        for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)
        for metric in re.findall(r">(\w+): difference<", svg)
    }
    assert drawn.keys() == {"auc", "accuracy"}
    left, right = (float(x) for x in re.findall(r"M([\d.]+) \d+v12", drawn["auc"].replace("v12M", "v12 M")))
    zero = float(re.findall(r'<line x1="([\d.]+)"', drawn["auc"])[0])
    assert zero < left < right, "0.03 with 1.96 standard errors of 0.01 is more than nothing"
    assert "0.03" in drawn["auc"]
    said = " ".join(Words(page).words)
    assert "1.96 standard errors either way, paired on the same rows" in said
    assert "No standard error of the difference is known of ece." in said
    assert "is known of accuracy." in " ".join(Words(PAGES["refused run"]).words)
    assert "standard error" not in PAGES["first version"]


def test_a_version_shows_the_evidence_of_its_own_decision_and_not_of_another() -> None:
    assert "flight-delay-5" not in PAGES["version"], "which is judged now"
    promoted = " ".join(Words(report(Found(PARENT, None, None, [DEPLOYMENT]))).words)
    assert "Promoted at 2026-03-01T00:00:00Z; the evidence by then" in promoted  # a person may not mind it
    assert "errors: as few as flight-delay-2" in promoted
    assert "challenger: 1 of 440" in promoted
    assert "e_harm" not in promoted
    judged = " ".join(Words(report(Found(version(5), None, None, [DEPLOYMENT]))).words)
    assert "Hold: errors: too few requests of flight-delay-5" in judged
    assert "challenger: 0 of 7" in judged


def test_each_arm_of_an_experiment_shows_its_own_judgement() -> None:
    deployment = copy.deepcopy(DEPLOYMENT)
    deployment["status"]["others"] = [
        {"version": "flight-delay-6", "analysis": {"verdict": "Pass", "message": "six is as good"}}
    ]
    assert "six is as good" in report(Found(version(6), None, None, [deployment]))
    assert "six is as good" not in report(Found(version(5), None, None, [deployment]))
    assert "six is as good" in deployment_report(deployment)


def test_what_was_judged_last_is_shown_of_whom_an_earlier_release_did_not_tell() -> None:
    deployment = copy.deepcopy(DEPLOYMENT)
    del deployment["status"]["analysis"]["version"]
    assert "too few requests" in report(Found(version(5), None, None, [deployment]))
    del deployment["status"]["candidate"]
    assert "too few requests" not in report(Found(version(5), None, None, [deployment]))
    assert "too few requests" in deployment_report(deployment)


def test_a_deployment_shows_the_evidence_of_each_of_its_decisions() -> None:
    said = " ".join(Words(PAGES["deployment"]).words)
    for words in (
        "The judgement on flight-delay-5", "flight-delay-4: Rejected at 2026-03-01T00:20:00Z",
        "challenger: 20 of 100", "flight-delay-3: Promoted at 2026-03-01T00:00:00Z", "challenger: 1 of 440",
    ):  # fmt: skip
        assert words in said, words


def test_a_version_tells_how_it_does_by_slice() -> None:
    words = Words(PAGES["version"]).words
    place = words.index("EWR")
    assert words[place - 1 : place + 6] == ["origin", "EWR", "1700", "auc", "0.7", "0.69", "0.012"]
    assert "EWR" not in PAGES["first version"]


def test_what_differs_from_the_parent_is_marked_and_nothing_else() -> None:
    marked = re.findall(r"<td>([^<]*)</td><td>([^<]*)</td><td class=changed>([^<]*)</td>", PAGES["version"])
    changed = {name: (old, new) for name, old, new in marked}
    assert changed["parameter depth"] == ("5", "6")
    assert changed["data train"][0] == "–"
    assert "seed" not in changed
    assert "inputs" not in changed


def test_a_first_version_has_nothing_to_be_compared_with() -> None:
    said = " ".join(Words(PAGES["first version"]).words)
    assert "A person, or a program of theirs, started the run." in said
    assert "It was not evaluated" in said
    assert "class=changed" not in PAGES["first version"]


def test_a_deployment_that_never_met_the_version_says_nothing_about_it() -> None:
    page = report(Found(version(9), None, None, [DEPLOYMENT]))
    assert "Decisions of ModelDeployment" not in page


def test_a_training_tells_each_decision_also_no_and_how_runs_ended() -> None:
    said = " ".join(Words(PAGES["training"]).words)
    for words in (
        "Trigger quality: Fire", "Trigger data: No", "nothing new", "RolledBack", "not known yet",
        "within 0.58 to 0.64, threshold 0.65", "window 1h, until 2026-03-01T00:00:00Z",
        "humid 0.26 0.2 0.03 880 True", "This stands, as counts cannot be read from mimir: 503",
    ):  # fmt: skip
        assert words in said, words
    quality, drift = re.findall(r"<svg.*?</svg>", PAGES["training"], re.DOTALL)[:2]
    assert quality.count("<path") == 1, "the interval of the value"
    assert drift.count("<line") == 1, "the threshold of the share"


def test_what_anybody_wrote_is_text() -> None:
    evil = "<script>alert(1)</script>\"'&"
    child, deployment = copy.deepcopy(CHILD), copy.deepcopy(DEPLOYMENT)
    child["spec"] |= {"card": evil}
    child["spec"]["lineage"]["params"] = {evil: evil}
    child["spec"]["evaluation"]["metrics"] = {evil: "0.5"}
    deployment["status"]["history"][2] |= {"message": evil, "event": evil}
    page = report(Found(child, PARENT, RUN, [deployment]))
    assert "<script" not in page
    assert Words(page).loads == []
    assert page.count("&lt;script&gt;") >= 5


def test_bars_hold_their_bounds_and_marks() -> None:
    drawn = bars([Bar("a", 0.2, low=0.1, high=0.4, mark=0.5), Bar("b", -0.1)]).text
    places = [float(x) for x in re.findall(r'(?:x1|x)="([\d.]+)"', drawn)]
    assert all(0 <= x <= 760 for x in places)
    assert bars([]).text == ""
    assert "20 %" in bars([Bar("a", 0.2)], percent=True).text


def test_a_timeline_puts_words_that_would_meet_on_lines_of_their_own() -> None:
    drawn = timeline(
        [(0.0, "RolloutStarted", "blue"), (1.0, "RolledBack", "red"), (100.0, "Promoted", "green")]
    ).text
    assert drawn.rindex("<line") < drawn.index("<text"), "no line goes through a word"
    lines = re.findall(r'<text x="[\d.]+" y="(\d+)">', drawn)
    assert lines[0] != lines[1]
    assert lines[2] == lines[0]
    assert timeline([]).text == ""


def test_a_table_without_rows_is_nothing() -> None:
    assert table(["a"], []).text == ""


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("mv/flight-delay-4", "flight-delay-4"),
        ("tj/run-4", "run-4"),
        ("tj/run-5", "run-5"),
        ("md/flight-delay", "flight-delay"),
        ("ct/loop", "loop"),
    ],
)
def test_any_object_of_the_loop_has_its_report(asked: str, name: str) -> None:
    found, page = made(ALL, asked)
    assert found == name
    assert f"<h1>{name}</h1>" in page


def test_a_run_that_was_refused_tells_why_on_what_rows_and_by_how_much() -> None:
    said = " ".join(Words(PAGES["refused run"]).words)
    for words in (
        "TrainingJob of flight-delay, Failed (GateFailed)", "the model is not good enough: auc",
        "DataChange (new-rows), decided 2026-03-02T00:00:00Z",
        "Measured sha256:0123456789ab, compared with sha256:ba9876543210, on 31 rows",
        "Warn: 1 finding in 9000 rows", "dep completeness 0.2 0.1",
        "2026-02-01 to 2026-03-01 (29), 9000 rows",
        "Measured on 5000 rows, beside flight-delay-3", "origin JFK 900 auc 0.6 0.69 0.01",
        "auc Fail 0.66 against 0.68 of champion", "loss 0.41", "parameter depth 6",
    ):  # fmt: skip
        assert words in said, words


def test_another_run_of_the_same_name_is_not_the_one_that_made_a_version() -> None:
    gate = "auc Fail 0.66 against 0.68 of champion"
    again = copy.deepcopy(REFUSED)
    again["metadata"] |= {"name": "run-4", "uid": "v"}
    _, page = made(Objects(CHILD, PARENT, again), "mv/flight-delay-4")
    assert gate not in " ".join(Words(page).words)
    again["metadata"]["uid"] = "u"
    _, page = made(Objects(CHILD, PARENT, again), "mv/flight-delay-4")
    assert gate in " ".join(Words(page).words)


def test_a_run_that_made_a_version_says_where_its_page_is() -> None:
    assert "kubectl noria report mv/flight-delay-4" in run_report(RUN)


@pytest.mark.parametrize(
    ("value", "threshold"),
    [("sha256:0123456789ab", "md5:ab"), ("9d", "7d"), ("0.61", "sha256:ab"), ("nan", "0.5")],
)
def test_what_a_trigger_measured_need_not_be_a_number(value: str, threshold: str) -> None:
    child = copy.deepcopy(CHILD)
    child["spec"]["lineage"]["trigger"] |= {"value": value, "threshold": threshold, "interval": None}
    page = report(Found(child))
    assert f"Measured {value}, compared with {threshold}" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert "nan" not in svg


def test_the_command_writes_a_file_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(run(parser().parse_args(["report", "mv/flight-delay-4"]), ALL)) == ["flight-delay-4.html"]
    first = (tmp_path / "flight-delay-4.html").read_text()
    other = tmp_path / "other.html"
    run(parser().parse_args(["report", "mv/flight-delay-4", "-o", str(other)]), ALL)
    assert other.read_text() == first


def test_a_file_that_is_no_report_stays(tmp_path: Path) -> None:
    file = tmp_path / "notes.html"
    file.write_text("mine")
    with pytest.raises(CommandError, match="is no report"):
        write("<!doctype html>", file)
    assert file.read_text() == "mine"
    with pytest.raises(CommandError, match="cannot be written"):
        write("<!doctype html>", tmp_path / "nowhere" / "a.html")
