"""The demo's decisions: how fast to replay, what to tell, what the report says, which claims hold."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from examples.flights.demo import monitoring, record
from examples.flights.demo.__main__ import table
from examples.flights.demo.checks import judge
from examples.flights.demo.cluster import MANIFESTS
from examples.flights.demo.monitoring import DASHBOARDS, FOLDER
from examples.flights.demo.narrate import changes
from examples.flights.demo.picture import draw
from examples.flights.demo.say import DemoError
from examples.flights.demo.traffic import CANARY, FULL, TRAINING, Traffic, rate_for
from examples.flights.demo.world import World
from examples.flights.features import FEATURES
from examples.flights.monitoring import air_time
from tools.monitoring.live import Span, panels

from noria_operator.api.data_sources import Select
from noria_operator.api.trainingjob import TrainingJobSpec
from noria_operator.domain.training_overlap import shared

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


def deployment(**status: Any) -> Json:
    return {"metadata": {"name": "flight-delay", "namespace": "flights"}, "status": status}


def job(phase: str, version: str | None = None) -> Json:
    return {
        "metadata": {"name": "j", "namespace": "flights"},
        "status": {"phase": phase, "modelVersion": version},
    }


STABLE: Json = {"stable": {"version": "flight-delay-1"}}


@pytest.mark.parametrize(
    ("status", "jobs", "rate"),
    [
        (STABLE, [], FULL),
        (STABLE, [job("Succeeded", "flight-delay-1")], FULL),
        (STABLE, [job("Running")], TRAINING),
        (STABLE, [job("Succeeded", "flight-delay-2")], TRAINING),
        (STABLE, [job("Failed")], FULL),
        ({**STABLE, "candidate": {"version": "flight-delay-2"}}, [job("Running")], CANARY),
        ({**STABLE, "rejected": [{"version": "flight-delay-2"}]}, [job("Succeeded", "flight-delay-2")], FULL),
        ({"stable": {"version": "flight-delay-3"}}, [job("Succeeded", "flight-delay-2")], FULL),
    ],
)
def test_the_clock_is_slow_while_something_is_decided(status: Json, jobs: list[Json], rate: float) -> None:
    assert rate_for(deployment(**status), jobs) == rate


@pytest.mark.parametrize(
    ("status", "jobs", "rate"),
    [
        (STABLE, [], 0),
        (STABLE, [job("Running")], 0),
        (STABLE, [job("Succeeded", "flight-delay-2")], 0),
        ({**STABLE, "candidate": {"version": "flight-delay-2"}}, [job("Running")], TRAINING),
    ],
)
def test_a_sparing_clock_moves_for_a_canary_only_and_slowly(
    monkeypatch: pytest.MonkeyPatch, status: Json, jobs: list[Json], rate: float
) -> None:
    world = World("flights")
    world.observe("ModelDeployment", "ADDED", deployment(**status))
    monkeypatch.setattr(world, "all", lambda kind: jobs)
    traffic = Traffic(world, "flight-delay")
    traffic.spare()
    assert traffic.rate() == rate
    traffic.go_on(CANARY)
    assert traffic.rate() > 0


def test_a_year_that_was_over_too_soon_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = Traffic(World("flights"), "flight-delay")
    traffic.stats = {"done": True, "rate": 80.0}
    with pytest.raises(DemoError, match=r"the year was over .*DEMO_RATE"):
        traffic.hold()


def test_a_held_clock_stands_whatever_the_cluster_does(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("flights")
    world.observe("ModelDeployment", "ADDED", deployment(**STABLE, candidate={"version": "flight-delay-2"}))
    traffic = Traffic(world, "flight-delay")
    calls: list[str] = []

    def call(method: str, path: str) -> Json:
        calls.append(f"{method} {path}")
        return {"date": "", "rate": traffic.limit}

    monkeypatch.setattr(traffic, "_call", call)
    monkeypatch.setattr("examples.flights.demo.traffic.LOOK_SECONDS", 0.01)
    traffic.start()
    world.until("the canary's rate", lambda: calls[:1] == [f"POST control?rate={CANARY:g}"], seconds=5)
    traffic.hold()
    assert "POST control?rate=0" in calls
    traffic.stop()
    traffic.join(5)
    assert not traffic.is_alive()


def test_waiting_in_vain_ends_with_what_was_waited_for() -> None:
    with pytest.raises(DemoError, match="the moon: not within 0 s"):
        World("flights").until("the moon", lambda: None, seconds=0.01)


def test_an_object_seen_twice_tells_nothing_new() -> None:
    after = deployment(
        history=[{"event": "Promoted", "message": "flight-delay-2 is the champion now"}],
        traffic=[{"version": "flight-delay-2", "weight": 100, "verified": True}],
    )
    told = changes("ModelDeployment", None, after)
    assert [line.text for line in told] == [
        "Promoted: flight-delay-2 is the champion now",
        "in force, read back from every router: flight-delay-2 100 %",
    ]
    assert changes("ModelDeployment", after, copy.deepcopy(after)) == []


def test_a_refused_training_is_told_with_its_reason_and_how_to_see_it() -> None:
    after = {
        "metadata": {"name": "j", "namespace": "flights"},
        "status": {"phase": "Failed", "message": "gate"},
    }
    (line,) = changes("TrainingJob", None, after)
    assert line.text == "j failed: gate"
    assert line.command == "kubectl -n flights describe tj j"


def test_a_weight_that_is_not_read_back_is_not_in_force() -> None:
    after = deployment(traffic=[{"version": "flight-delay-2", "weight": 100, "verified": False}])
    assert changes("ModelDeployment", None, after) == []


def test_the_timeline_has_an_entry_for_each_change_of_the_split() -> None:
    world = World("flights")
    for weight, verified in ((0, True), (10, False), (10, True), (10, True)):
        traffic = [
            {"version": "flight-delay-1", "weight": 100 - weight, "verified": verified},
            {"version": "flight-delay-2", "weight": weight, "verified": verified},
        ]
        world.observe("ModelDeployment", "MODIFIED", deployment(traffic=traffic))
    assert [(entry.weights["flight-delay-2"], entry.verified) for entry in world.timeline] == [
        (0, True),
        (10, False),
        (10, True),
    ]


def entry(wall: float, weight: int, *, verified: bool = True) -> Json:
    return {"wall": wall, "weights": {"flight-delay-4": weight}, "verified": verified}


def test_the_abort_takes_until_the_split_without_the_version_was_read_back() -> None:
    rejected = {"version": "flight-delay-4", "reason": "errors", "at": "2026-01-01T00:00:10.500000Z"}
    start = 1767225600.0
    timeline = [entry(start + 1, 10), entry(start + 10.6, 0, verified=False), entry(start + 10.8, 0)]
    found = record.abort(
        timeline, deployment(rejected=[rejected]), "flight-delay-4", {"4": {"last": start + 10.7}}
    )
    assert found["seconds_to_weight_0"] == 0.3
    assert found["seconds_to_last_answer"] == 0.2


def test_a_version_that_was_never_rejected_was_not_aborted() -> None:
    assert record.abort([], deployment(), "flight-delay-4", {}) == {
        "version": "flight-delay-4",
        "aborted": False,
    }


def test_the_autumn_is_the_mean_of_its_four_months() -> None:
    quality = {str(m): {"served": m / 100, "never_retrained": 0.5} for m in range(3, 13)}
    assert record.autumn(quality) == {"months": 4, "served": 0.105, "never_retrained": 0.5}


def good_report() -> Json:
    run = {"phase": "Succeeded", "reason": "", "message": "", "trigger": {"reason": "Performance"}}
    refused = {"name": "bad", "phase": "Failed", "reason": "GateFailed", "message": "", "trigger": None}
    return {
        "trainings": [{**run, "name": "a"}, {**run, "name": "b"}, refused],
        "bad": {"gate": "bad", "version": "flight-delay-4", "version_number": "4"},
        "abort": {"aborted": True, "seconds_to_weight_0": 0.3, "reason": "errors"},
        "requests": {
            "sent": 30,
            "answered": 25,
            "failed": 5,
            "by_version": {"1": {"answered": 25, "failed": 0}, "4": {"answered": 0, "failed": 5}},
            "feedback": {"matched": 20},
        },
        "autumn": {"months": 4, "served": 0.68, "never_retrained": 0.65},
    }


def test_a_good_report_holds_in_every_claim() -> None:
    assert all(claim.holds for claim in judge(good_report()))


@pytest.mark.parametrize(
    ("path", "value", "claim"),
    [
        (("trainings", 0, "phase"), "Failed", "retrainings"),
        (("trainings", 1, "trigger"), {"reason": "Manual"}, "retrainings"),
        (("trainings", 2, "reason"), "TrainingFailed", "gate"),
        (("abort", "seconds_to_weight_0"), 1.2, "weight 0"),
        (("abort", "seconds_to_weight_0"), None, "weight 0"),
        (("abort", "aborted"), False, "weight 0"),
        (("requests", "by_version", "1", "failed"), 1, "no request"),
        (("requests", "by_version", "unknown"), {"answered": 0, "failed": 1}, "no request"),
        (("requests", "sent"), 31, "no request"),
        (("requests", "feedback"), {"matched": 19, "invalid": 1}, "outcome"),
        (("requests", "feedback"), {}, "outcome"),
        (("autumn", "served"), 0.65, "September"),
        (("autumn", "served"), None, "September"),
        (("autumn", "months"), 3, "September"),
    ],
)
def test_each_claim_can_fail(path: tuple[Any, ...], value: Any, claim: str) -> None:
    report = good_report()
    place: Any = report
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    failed = [one.text for one in judge(report) if not one.holds]
    assert len(failed) == 1
    assert claim in failed[0]


def test_the_report_says_how_the_year_was_shortened() -> None:
    paths = {"ModelDeployment": "30-deployment.yaml", "ContinuousTraining": "40-continuous-training.yaml"}
    objects = {kind: yaml.safe_load((MANIFESTS / path).read_text()) for kind, path in paths.items()}
    said = record.settings(objects["ModelDeployment"], objects["ContinuousTraining"])
    assert "shorter than in production" in said["note"]
    assert said["sample"] == "one flight in 8"
    assert said["steps"][0] == {"weight": 10, "minRequests": 50}
    assert (said["window"], said["cooldown"], said["keep_previous"]) == ("2s", "20s", "20s")


def test_the_table_shows_a_month_without_a_score_and_how_short_the_year_was() -> None:
    month = {"flights": 3, "late": 0.0, "served": None, "never_retrained": 0.5}
    report = good_report() | {
        "quality": {"3": month},
        "versions": [],
        "settings": {"note": "short", "sample": "one in 8"},
    }
    shown = table(report, [])
    assert re.search(r"3 +3 +0\.0% +- +0\.500", shown)
    assert "short (one in 8)" in shown


def test_the_picture_is_drawn_also_with_a_month_of_one_class(tmp_path: Path) -> None:
    quality = {"3": {"served": 0.7, "never_retrained": 0.7}, "4": {"served": None, "never_retrained": None}}
    shares = {"2013-03-01": {"1": 3}, "2013-03-02": {"1": 1, "2": 2}}
    draw({"quality": quality, "shares": shares, "bad": {"version_number": "2"}}, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.yaml")), ids=lambda path: path.name)
def test_manifests_are_accepted_by_our_own_models(path: Path) -> None:
    from noria_operator.api.continuoustraining import ContinuousTraining
    from noria_operator.api.modeldeployment import ModelDeployment
    from noria_operator.api.trainingjob import TrainingJob

    kinds = {
        "TrainingJob": TrainingJob,
        "ModelDeployment": ModelDeployment,
        "ContinuousTraining": ContinuousTraining,
    }
    text = Template(path.read_text()).substitute(FLIGHTS_IMAGE="noria/example-flights:1", FIRST_BUNDLE="a/b")
    for document in yaml.safe_load_all(text):
        model = kinds.get(document["kind"])
        if model is not None:
            model.model_validate({key: document[key] for key in ("metadata", "spec")})
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "flights"


def test_no_run_of_the_demo_is_refused_for_its_held_out_days() -> None:
    text = "---\n".join(path.read_text() for path in MANIFESTS.glob("*.yaml"))
    documents = yaml.safe_load_all(Template(text).substitute(FLIGHTS_IMAGE="f:1", FIRST_BUNDLE="a/b"))
    specs = {
        one["metadata"]["name"]: one["spec"].get("template", one)["spec"]
        for one in documents
        if one["kind"] in ("TrainingJob", "ContinuousTraining")
    }
    assert len(specs) == 4
    for name, raw in specs.items():
        spec = TrainingJobSpec.model_validate(raw)
        assert not shared(spec, {one.name: days(one.select) for one in spec.data if one.select}), name


def days(select: Select) -> Json:
    """The partitions of a lake of a year that would be chosen."""
    oldest, newest = max(0, 365 - select.skip - select.last), 364 - select.skip
    return {"by": select.by, "oldest": str(oldest), "newest": str(newest)}


@pytest.mark.parametrize(
    ("alerts", "empty", "holds"),
    [
        (["NoriaQualityLost", "NoriaRolledBack", "NoriaFeatureDrift"], [], [True, True]),
        (["NoriaRolledBack"], ["fleet: Models A"], [False, False]),
        ([], [], [False, True]),
    ],
)
def test_with_monitoring_alerts_must_be_told_and_panels_have_data(
    alerts: list[str], empty: list[str], holds: list[bool]
) -> None:
    claims = {
        claim.text: claim
        for claim in judge({**good_report(), "monitoring": {"alerts": alerts, "empty": empty}})
    }
    found = [
        claims["the alerts of the story reached the webhook"],
        claims["every panel of every dashboard has data"],
    ]
    assert [claim.holds for claim in found] == holds


class Past:
    """A Prometheus that has had samples of everything, and has none of now."""

    def __init__(self, url: str) -> None:
        self.url = url

    def at(self, expr: str, time: float) -> list[Json]:
        return []

    def over(self, expr: str, span: Span) -> list[Json]:
        return [{"metric": {}, "values": [[span.start, 1.0]]}]

    def values(self, expr: str, label: str, span: Span) -> list[str]:
        return ["flight-delay-1"]


def test_a_table_of_now_has_no_data_where_there_was_some_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "Prometheus", Past)
    watching = monitoring.Monitoring({"monitoring": "m", "example-flights": "f"}, "local")
    of_now = {
        f"{path.stem}: {panel['title']} {one['refId']}"
        for path in DASHBOARDS.glob("*.json")
        for panel in panels(json.loads(path.read_text()))
        for one in panel["targets"]
        if one.get("instant")
    }
    assert set(watching._empty("http://prometheus")) == of_now
    assert "quality: Decisions A" in of_now


def test_there_is_something_for_every_panel() -> None:
    """A regression is served beside the loop, told apart by a column that it takes; how airports differ, a
    trigger bounds by a column that servers count by.
    """
    shown = {
        panel["title"] for path in DASHBOARDS.glob("*.json") for panel in panels(json.loads(path.read_text()))
    }
    assert {"Mean absolute error", "Mean absolute error by slice", "Fairness"} <= shown
    text = Template((FOLDER / "air-time.yaml").read_text()).substitute(FLIGHTS_IMAGE="f")
    (taught,) = [one["spec"] for one in yaml.safe_load_all(text) if one["kind"] == "TrainingJob"]
    assert {one["feature"] for one in taught["slices"]} <= {*air_time.FEATURES}
    assert air_time.MODEL < "flight-delay"  # where one version is chosen, it is the last: the loop's
    loop = yaml.safe_load((MANIFESTS / "40-continuous-training.yaml").read_text())["spec"]
    first = yaml.safe_load((MANIFESTS / "20-first-training.yaml").read_text())["spec"]
    (fair,) = [one["fairness"] for one in loop["triggers"] if "fairness" in one]
    for spec in (first, loop["template"]["spec"]):
        assert fair["feature"] in {one["feature"] for one in spec["slices"]}
    assert fair["feature"] in FEATURES


def test_the_jobs_of_the_demo_are_those_that_the_docs_show() -> None:
    shown = re.search(
        r"```yaml\n(scrape_configs:.*?)```", (ROOT / "docs" / "monitoring.md").read_text(), re.DOTALL
    )
    ran = yaml.safe_load((ROOT / "examples" / "flights" / "monitoring" / "prometheus.yml").read_text())
    assert shown is not None
    assert yaml.safe_load(shown[1])["scrape_configs"] == ran["scrape_configs"]


def test_the_manifest_of_monitoring_is_whole_and_keeps_to_restricted_pods() -> None:
    text = (ROOT / "examples" / "flights" / "monitoring" / "manifest.yaml").read_text()
    objects = list(yaml.safe_load_all(Template(text).substitute(MONITORING_IMAGE="m", FLIGHTS_IMAGE="f")))
    (pod,) = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert [one["name"] for one in pod["containers"]] == ["prometheus", "alertmanager", "webhook"]
    for one in pod["containers"]:
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    marked = {one["kind"] for one in objects if "labels" in one["metadata"]}
    assert marked == {"Namespace", "ClusterRole", "ClusterRoleBinding"}, (
        "what the demo takes away by its label"
    )
