from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from noria_operator.domain.chart_values import InvalidEntry
from noria_operator.domain.notification_messages import body_of, key_of, signature
from noria_operator.domain.notification_targets import Format, InvalidTarget, Target, checked_url, targets_of
from noria_operator.domain.notifications import ROLLOUT, STEP, TYPES, Occurrence, occurrences

Json = dict[str, Any]
T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = T0 - timedelta(days=1)
AT = "2026-01-01T12:00:00Z"


def obj(kind: str, status: Json, name: str = "flights", uid: str = "u1") -> Json:
    meta = {"name": name, "namespace": "shop", "uid": uid}
    return {"apiVersion": "noria.dev/v1alpha1", "kind": kind, "metadata": meta, "status": status}


def history(*events: str) -> Json:
    entries = [
        {"at": f"2026-01-01T12:00:0{i}Z", "event": event, "version": "flights-4", "message": f"m{i}"}
        for i, event in enumerate(events)
    ]
    return {"history": entries}


def condition(type_: str, reason: str) -> Json:
    return {"type": type_, "status": "True", "reason": reason, "message": "why", "lastTransitionTime": AT}


RUNS = {"runs": [{"at": AT, "trigger": "weekly", "trainingJob": "flights-abc"}]}
SPENT = {
    **RUNS,
    "lastEvaluation": AT,
    "triggers": [{"name": "weekly", "message": "the run is due; held by Budget: until tomorrow"}],
}
ALARMS = {
    "triggers": [
        {"name": "drift", "decision": "Warn", "since": AT, "message": "0.4 of the features drifted"},
        {"name": "dirty", "decision": "Block", "since": "2026-01-01T12:00:01Z", "message": "2 checks failed"},
        {"name": "old", "decision": "Warn", "message": "nobody wrote down when"},
        {"name": "quality", "decision": "Fire", "message": "lost"},
    ]
}
STARTED = {"lastTrigger": {"name": "weekly", "reason": "Schedule", "at": AT, "trainingJob": "flights-abc"}}


@pytest.mark.parametrize(
    ("kind", "status", "told"),
    [
        ("ModelDeployment", {}, []),
        ("ModelDeployment", history("RolloutStarted", "Promoted"), ["rollout.started", "rollout.promoted"]),
        ("ModelDeployment", history("RolledBack", "RolloutUndone"), ["rollout.aborted", "rollout.undone"]),
        ("ModelDeployment", history("StepsEdited", "SomethingNewer"), []),
        (
            "ModelVersion",
            {"history": [{"at": AT, "to": "Approved", "reason": "Approved"}]},
            ["version.approved"],
        ),
        ("ModelVersion", {"history": [{"at": AT, "to": "PendingApproval"}]}, ["version.waiting"]),
        ("ModelVersion", {"history": [{"at": AT, "to": "Validating"}]}, []),
        ("TrainingJob", {"conditions": [condition("Complete", "Registered")]}, ["training.succeeded"]),
        ("TrainingJob", {"conditions": [condition("Failed", "GateFailed")]}, ["training.rejected"]),
        ("TrainingJob", {"conditions": [condition("Failed", "ImagePull")]}, ["training.failed"]),
        ("TrainingJob", {"conditions": [condition("Ready", "Registered")]}, []),
        ("ContinuousTraining", STARTED, ["retraining.started"]),
        ("ContinuousTraining", SPENT, ["retraining.blocked"]),
        ("ContinuousTraining", {**SPENT, "triggers": []}, []),
        ("ContinuousTraining", ALARMS, ["trigger.warned", "trigger.blocked"]),
        ("Deployment", history("Promoted"), []),
    ],
)
def test_what_a_status_tells(kind: str, status: Json, told: list[str]) -> None:
    assert [one.type for one in occurrences(obj(kind, status), LONG_AGO)] == told


def test_what_is_not_younger_than_asked_for_is_left_out() -> None:
    md = obj("ModelDeployment", history("RolloutStarted", "RolloutPaused", "Promoted"))
    assert [one.type for one in occurrences(md, T0 + timedelta(seconds=1))] == ["rollout.promoted"]


def test_the_same_occurrence_has_the_same_id_and_another_object_another() -> None:
    both = history("RolloutStarted", "Promoted")
    first = occurrences(obj("ModelDeployment", history("RolloutStarted")), LONG_AGO)
    later = occurrences(obj("ModelDeployment", both), LONG_AGO)
    other = occurrences(obj("ModelDeployment", both, uid="u2"), LONG_AGO)
    assert first[0].id == later[0].id
    assert len({one.id for one in (*later, *other)}) == 4


def test_a_spent_budget_is_one_occurrence_however_often_it_is_looked_at() -> None:
    later = {**SPENT, "lastEvaluation": "2026-01-01T12:30:00Z"}
    found = [occurrences(obj("ContinuousTraining", status), LONG_AGO)[0].id for status in (SPENT, later)]
    assert len(set(found)) == 1


def test_an_alarm_is_one_occurrence_while_its_figures_change() -> None:
    first, _ = occurrences(obj("ContinuousTraining", ALARMS), LONG_AGO)
    later = {"triggers": [{**ALARMS["triggers"][0], "message": "0.6 of the features drifted"}]}
    (again,) = occurrences(obj("ContinuousTraining", later), LONG_AGO)
    assert first.id == again.id
    assert first.message == "trigger drift: 0.4 of the features drifted"
    another = {"triggers": [{**ALARMS["triggers"][0], "since": "2026-01-02T00:00:00Z"}]}
    assert occurrences(obj("ContinuousTraining", another), LONG_AGO)[0].id != first.id


def test_a_retraining_says_which_trigger_asked_for_it() -> None:
    status = {"conditions": [condition("Complete", "Registered")], "trigger": {"name": "quality"}}
    (one,) = occurrences(obj("TrainingJob", status), LONG_AGO)
    assert "trigger quality" in one.message


def test_every_type_is_spelled_alike() -> None:
    assert all(type_ == type_.lower() and type_.count(".") == 1 for type_ in TYPES)
    assert len(set(ROLLOUT.values())) == len(ROLLOUT)


def test_the_documentation_names_every_event() -> None:
    page = (Path(__file__).parents[3] / "docs" / "notifications.md").read_text()
    told = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z.]+)`", " ".join(told))) == TYPES


# -- messages ------------------------------------------------------------------------------------

ABORTED = Occurrence(
    "i1", "rollout.aborted", T0, "ModelDeployment", "shop", "flights", "u1", "flights-4", "<b> & @all <!here>"
)


def test_a_cloud_event_has_what_version_1_asks_for() -> None:
    content_type, body = body_of(ABORTED, Format.CLOUD_EVENTS)
    event = json.loads(body)
    assert content_type.startswith("application/cloudevents+json")
    assert (event["specversion"], event["id"], event["time"]) == ("1.0", "i1", AT)
    assert event["type"] == "dev.noria.rollout.aborted"
    assert event["source"] == "/apis/noria.dev/v1alpha1/namespaces/shop/modeldeployments/flights"
    assert event["subject"] == "flights-4"
    assert event["data"]["message"] == ABORTED.message
    assert event["data"]["severity"] == "warning"


def test_a_message_for_slack_mentions_nobody_and_hides_no_link() -> None:
    _, body = body_of(ABORTED, Format.SLACK)
    assert json.loads(body) == {
        "text": ":warning: *rollout.aborted* ModelDeployment shop/flights: &lt;b&gt; &amp; @all &lt;!here&gt;"
    }


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's reference libraries.
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    by_hand = hmac.new(
        key, b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}', hashlib.sha256
    ).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(by_hand).decode()}"


@pytest.mark.parametrize("text", ["whsec_", "whsec_c2hvcnQ=", "not base64!"])
def test_a_key_that_proves_little_is_refused(text: str) -> None:
    with pytest.raises(InvalidTarget, match="signing key"):
        key_of(text)


# -- targets -------------------------------------------------------------------------------------


def test_targets_are_read_as_the_chart_writes_them() -> None:
    text = (
        '[{"name": "ops", "urlFile": "/n/ops/url", "keyFile": "/n/ops/key", "events": ["rollout.aborted"]},'
        ' {"name": "chat", "url": "https://chat.example/x", "format": "slack", "namespaces": ["shop"]}]'
    )
    ops, chat = targets_of(text)
    assert ops.format is Format.CLOUD_EVENTS
    assert str(ops.url_file) == "/n/ops/url"
    assert chat.namespaces == {"shop"}
    assert targets_of("") == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "JSON"),
        ("{}", "list"),
        ('[{"url": "http://a"}]', "DNS label"),
        ('[{"name": "a"}]', "exactly one"),
        ('[{"name": "a", "url": "http://a", "urlFile": "/x"}]', "exactly one"),
        ('[{"name": "a", "url": "file:///etc/passwd"}]', "http"),
        ('[{"name": "a", "url": "http://a", "events": ["rollout.promted"]}]', "rollout.promted"),
        ('[{"name": "a", "url": "http://a", "format": "teams"}]', "teams"),
        ('[{"name": "a", "url": "http://a", "evnts": []}]', "evnts"),
        ('[{"name": "a", "url": "http://a"}, {"name": "a", "url": "http://b"}]', "one name"),
    ],
)
def test_a_wrong_target_is_refused_by_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(InvalidEntry, match=complaint):
        targets_of(text)


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a b", "http://[::1", "http://a\x00b"])
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        checked_url(url)
    assert str(caught.value) == "the url is no http:// or https:// address"


@pytest.mark.parametrize(
    ("target", "type_", "wanted"),
    [
        (Target("a"), "rollout.aborted", True),
        (Target("a"), STEP, False),
        (Target("a", events=frozenset({STEP})), STEP, True),
        (Target("a", events=frozenset({STEP})), "rollout.aborted", False),
        (Target("a", namespaces=frozenset({"other"})), "rollout.aborted", False),
        (Target("a", namespaces=frozenset({"shop"})), "rollout.aborted", True),
    ],
)
def test_a_target_gets_what_it_asked_for(target: Target, type_: str, wanted: bool) -> None:
    one = Occurrence("i", type_, T0, "ModelDeployment", "shop", "flights", "u", "", "")
    assert target.wants(one) is wanted
