"""The TrainingJob's controller ends in the same place wherever the process stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.controllers.training_api import Api, Crash, Servers, operator
from tests.unit.domain.training_world import deployment, evaluation, result, training_job, version

from noria_operator.controllers.trainingjob import reconcile, related
from noria_operator.controllers.worker import mark_stalled
from noria_operator.domain.serving_children import selector
from noria_operator.domain.training_times import moment, stamp
from noria_operator.evidence.totals import Totals
from noria_operator.kube.errors import Invalid, NameConflict, Terminal
from noria_operator.kube.kinds import JOB, MODELDEPLOYMENT, MODELVERSION, POD, TRAININGJOB, Key, Kind

Json = dict[str, Any]
KEY = Key(TRAININGJOB, "demo", "flights-1")


def world(**spec: Any) -> Api:
    api = Api()
    api.put(TRAININGJOB, training_job(**spec))
    api.put(MODELVERSION, version(1))
    api.put(MODELDEPLOYMENT, deployment(1))
    return api


def say(job: Json) -> tuple[str, int]:
    """Every program does what it should."""
    name = job["metadata"]["name"]
    return (result(training_job()), 0) if name.endswith("-train") else (evaluation(), 0)


async def run(api: Api, rounds: int = 6, says: Callable[[Json], tuple[str, int]] = say) -> None:
    """Pass after pass, the cluster in between; a crash starts a new operator."""
    for _ in range(rounds):
        try:
            await reconcile(operator(api), KEY)
        except Crash:
            api.crash_after = None
            continue
        api.end_jobs(says)


def hold(api: Api, *, suspend: bool) -> None:
    api.put(TRAININGJOB, api.objects[KEY] | {"spec": api.objects[KEY]["spec"] | {"suspend": suspend}})


def made(api: Api) -> list[str]:
    return [obj["metadata"]["name"] for obj in api.all(MODELVERSION)]


async def test_a_run_ends_with_one_version_and_then_writes_nothing() -> None:
    api = world()
    await run(api)
    assert made(api) == ["flights-1", "flights-2"]
    status = api.objects[KEY]["status"]
    assert (status["phase"], status["modelVersion"]) == ("Succeeded", "flights-2")
    assert [text for text in api.writes if text.startswith("create")] == [
        "create Job flights-1-train",
        "create Job flights-1-evaluate",
        "create ModelVersion flights-2",
    ]
    before = len(api.writes)
    await run(api, 2)
    assert len(api.writes) == before


@pytest.mark.parametrize("writes", range(12))
async def test_a_crash_after_any_write_changes_nothing_in_the_end(writes: int) -> None:
    api = world()
    api.crash_after = writes
    await run(api, 9)
    assert made(api) == ["flights-1", "flights-2"]
    assert len(api.all(JOB)) == 2
    assert api.objects[KEY]["status"]["phase"] == "Succeeded"
    assert len([text for text in api.writes if text.startswith("create")]) == 3


async def test_rows_are_checked_once_whenever_the_process_stops() -> None:
    counted = {"schema": "noria.check/v1", "rows": 9, "features": 0, "duplicates": 0}

    def each(job: Json) -> tuple[str, int]:
        return (json.dumps(counted), 0) if job["metadata"]["name"].endswith("-check") else say(job)

    for writes in range(4):
        api = world(dataQuality={"data": "train"})
        api.crash_after = writes
        await run(api, 9, each)
        assert [text for text in api.writes if text.startswith("create Job")] == [
            "create Job flights-1-check",
            "create Job flights-1-train",
            "create Job flights-1-evaluate",
        ]
        status = api.objects[KEY]["status"]
        assert (status["phase"], status["dataQuality"]["result"]) == ("Succeeded", "Pass")
        assert status["dataQuality"]["against"] == "flights-1"


def serving_pod(labels: Json, port: str = "counters") -> Json:
    meta = {"name": "flights-a", "namespace": "demo", "uid": "a", "labels": labels}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    spec = {"containers": [{"name": "server", "ports": [{"name": port}]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


MATCH: Json = {"match": [{"name": "market", "value": "de"}]}


@pytest.mark.parametrize(
    ("strategy", "traffic", "hours"),
    [
        ({}, {}, 24),
        ({"steps": [{"weight": 10}]}, {}, 24),
        ({"steps": [MATCH]}, {}, 2),
        ({"experiment": {"arms": [{"version": "flights-2", **MATCH}]}}, {}, 2),
        ({"steps": [MATCH]}, MATCH, None),
    ],
)
async def test_rows_are_compared_with_what_all_clients_ask(
    strategy: Json, traffic: Json, hours: int | None
) -> None:
    """Not with what a header left for the champion in a rollout that is under way, or ended two hours ago."""
    servers = Servers(totals=Totals({"features/flights-1/x/bins": (5, 6, 7)}))
    api = world(dataQuality={"data": "train"})
    made = moment(api.objects[KEY]["metadata"]["creationTimestamp"])
    history = [{"at": stamp(made - timedelta(hours=each)), "event": "RolledBack"} for each in (30, 2)]
    asked = api.objects[Key(MODELDEPLOYMENT, "demo", "flights")]
    asked["spec"]["strategy"] = strategy
    asked["status"] |= {"history": history, "traffic": [{"version": "flights-2", "weight": 0, **traffic}]}
    api.put(POD, serving_pod(selector("flights", asked["metadata"]["uid"])))
    await reconcile(operator(api, servers), KEY)
    (job,) = api.all(JOB)
    env = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert ("NORIA_CHECK_SERVED" in env) is (hours is not None)
    assert servers.asked == ([] if hours is None else [made - timedelta(hours=hours)])


async def test_the_check_is_handed_the_counts_of_the_champions_pods() -> None:
    """As far as they are known; when nobody can tell, nothing waits."""
    totals = Totals({"features/flights-1/x/bins": (5, 6, 7), "features/flights-2/x/bins": (1, 1, 1)})
    for servers, handed in (
        (Servers(totals=totals), '{"x":[5,6,7]}'),
        (Servers(unreadable="the source is away"), None),
    ):
        api = world(dataQuality={"data": "train"})
        meta = api.objects[Key(MODELDEPLOYMENT, "demo", "flights")]["metadata"]
        labels = selector(meta["name"], meta["uid"])
        api.put(POD, serving_pod(labels))
        await reconcile(operator(api, servers), KEY)
        (job,) = api.all(JOB)
        env = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert env.get("NORIA_CHECK_SERVED") == handed
        assert servers.asked == [api.clock.now() - timedelta(days=1)]
        await reconcile(operator(api, servers), KEY)
        assert len(servers.asked) == 1, "they are asked once"
    waiting = world(dataQuality={"data": "train"})
    waiting.put(POD, serving_pod(labels))
    result = await reconcile(operator(waiting, Servers()), KEY)
    assert (waiting.all(JOB), result.after) == ([], timedelta(seconds=5))
    custom = world(dataQuality={"data": "train"})
    custom.put(POD, serving_pod(labels, port="http"))
    await reconcile(operator(custom, Servers()), KEY)
    assert len(custom.all(JOB)) == 1, "containers that count nothing are not waited for"


async def test_two_runs_at_once_never_share_a_number() -> None:
    api = world(evaluation=None, gates=None)
    api.put(TRAININGJOB, training_job("flights-b", "other-uid", evaluation=None, gates=None))
    other = Key(TRAININGJOB, "demo", "flights-b")
    first, second = operator(api), operator(api)

    def each(job: Json) -> tuple[str, int]:
        uid, name = (
            ("other-uid", "flights-b") if "flights-b" in job["metadata"]["name"] else (None, "flights-1")
        )
        return (result(training_job(name, uid) if uid else training_job()), 0)

    await reconcile(first, KEY)
    await reconcile(second, other)
    api.end_jobs(each)
    # Both operators started at this moment: neither sees the number that the other one reserves.
    first, second = operator(api), operator(api)
    await reconcile(first, KEY)
    await reconcile(second, other)
    await reconcile(operator(api), other)
    names = {api.objects[key]["status"]["modelVersion"] for key in (KEY, other)}
    assert names == {"flights-2", "flights-3"}


def foreign(name: str) -> Json:
    meta = {"name": name, "namespace": "demo", "uid": "x"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {}}


async def test_a_finished_run_does_not_mind_who_takes_the_names_of_its_jobs() -> None:
    api = world()
    await run(api)
    done = api.objects[KEY]
    for name in ("flights-1-train", "flights-1-evaluate"):
        api.put(JOB, foreign(name))
    await reconcile(operator(api), KEY)
    assert api.objects[KEY] == done
    assert [one["metadata"]["uid"] for one in api.all(JOB)] == ["x", "x"]


async def test_a_job_of_somebody_else_is_never_touched() -> None:
    api = world()
    api.put(JOB, foreign("flights-1-train"))
    with pytest.raises(NameConflict, match="flights-1-train"):
        await reconcile(operator(api), KEY)
    assert not [text for text in api.writes if "Job" in text.split()[1:2]]


async def test_the_result_is_read_even_when_the_pod_is_not_in_the_cache_yet() -> None:
    api = world()
    await reconcile(operator(api), KEY)
    ctx = operator(api)
    api.end_jobs(say)
    ctx.store.observe("MODIFIED", api.objects[Key(JOB, "demo", "flights-1-train")])
    await reconcile(ctx, KEY)
    assert api.objects[KEY]["status"]["artifact"]["format"] == "onnx"


async def test_a_pass_comes_back_at_the_deadline_and_then_fails_and_stops_the_job() -> None:
    api = world()
    await reconcile(operator(api), KEY)
    again = await reconcile(operator(api), KEY)
    assert again.after == timedelta(hours=1)
    api.clock.time += timedelta(hours=1)
    await reconcile(operator(api), KEY)
    assert api.objects[KEY]["status"]["phase"] == "Failed"
    assert api.all(JOB) == []
    await reconcile(operator(api), KEY)
    assert api.all(JOB) == []


async def test_suspend_holds_the_job_and_lets_it_go_again() -> None:
    api = world()
    await reconcile(operator(api), KEY)
    job = Key(JOB, "demo", "flights-1-train")
    for suspend in (True, False):
        hold(api, suspend=suspend)
        await reconcile(operator(api), KEY)
        assert api.objects[job]["spec"]["suspend"] is suspend
    api.end_jobs(say)
    await run(api)
    assert api.objects[KEY]["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("crash", [0, 1])
async def test_a_run_goes_on_wherever_the_operator_stopped_while_suspending_it(crash: int) -> None:
    api = world()
    await reconcile(operator(api), KEY)
    hold(api, suspend=True)
    api.crash_after = crash
    with pytest.raises(Crash):
        await reconcile(operator(api), KEY)
    api.crash_after = None
    hold(api, suspend=False)
    await run(api)
    assert api.objects[KEY]["status"]["phase"] == "Succeeded"


async def test_a_finished_run_is_deleted_when_its_time_has_come() -> None:
    api = world(ttlSecondsAfterFinished=60)
    await run(api)
    again = await reconcile(operator(api), KEY)
    assert again.after == timedelta(seconds=60)
    api.clock.time += timedelta(seconds=60)
    await reconcile(operator(api), KEY)
    assert KEY not in api.objects
    assert made(api) == ["flights-1", "flights-2"]


async def test_a_spec_that_cannot_be_used_fails_with_the_field_and_makes_nothing() -> None:
    api = Api()
    api.put(TRAININGJOB, training_job(output={"uri": "file:///etc"}))
    await run(api, 2)
    failed = next(one for one in api.objects[KEY]["status"]["conditions"] if one["type"] == "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "InvalidSpec")
    assert "spec.output.uri" in failed["message"]
    assert api.all(JOB) == []


NEWER = [{"spec": {"newField": 1}}, {"status": {"phase": "Reviewing"}}]
"""What only a later release of Noria can have written: the API server prunes what its CRDs do not know."""


@pytest.mark.parametrize("newer", NEWER, ids=["spec", "status"])
@pytest.mark.parametrize("rounds", range(3))
async def test_a_run_that_a_newer_operator_wrote_waits_for_it_wherever_it_is(
    newer: Json, rounds: int
) -> None:
    """An older operator that leads for a while ends nothing: what runs goes on."""
    api = world()
    await run(api, rounds)
    kept = api.objects[KEY]
    jobs, (part,) = api.all(JOB), newer
    unread = kept | {part: kept.get(part, {}) | newer[part]}
    api.put(TRAININGJOB, unread)
    with pytest.raises(Terminal) as refusal:
        await reconcile(operator(api), KEY)
    assert refusal.value.reason == "InvalidSpec"
    await mark_stalled(operator(api), KEY, refusal.value)
    assert api.all(JOB) == jobs
    stalled = {one["type"]: one["status"] for one in api.objects[KEY]["status"]["conditions"]}
    assert (stalled["Stalled"], stalled.get("Failed", "False")) == ("True", "False")
    phase = {"phase": kept.get("status", {}).get("phase", "Pending")}
    api.put(TRAININGJOB, kept | {"status": api.objects[KEY]["status"] | phase})
    await run(api, 6)
    status = api.objects[KEY]["status"]
    assert (status["phase"], made(api)) == ("Succeeded", ["flights-1", "flights-2"])
    assert {one["type"]: one["status"] for one in status["conditions"]}["Stalled"] == "False"


async def test_a_run_that_has_begun_is_not_ended_by_a_rule_that_came_after_it() -> None:
    api = world()
    await run(api, 1)
    kept = api.objects[KEY]
    api.put(TRAININGJOB, kept | {"spec": kept["spec"] | {"output": {"uri": "file:///etc"}}})
    with pytest.raises(Terminal, match=r"spec\.output\.uri"):
        await reconcile(operator(api), KEY)
    assert [job["metadata"]["name"] for job in api.all(JOB)] == ["flights-1-train"]


async def test_a_finished_run_that_a_newer_operator_wrote_still_goes_when_its_time_has_come() -> None:
    api = world(ttlSecondsAfterFinished=60)
    await run(api)
    api.put(TRAININGJOB, api.objects[KEY] | {"spec": api.objects[KEY]["spec"] | {"newField": 1}})
    assert (await reconcile(operator(api), KEY)).after == timedelta(seconds=60)


async def test_a_job_that_the_api_server_refuses_fails_the_run_with_its_words() -> None:
    api = world()
    api.refused = frozenset({JOB})
    await run(api, 2)
    status = api.objects[KEY]["status"]
    assert status["phase"] == "Failed"
    assert "spec.template: wrong" in status["message"]
    assert len(api.writes) == 1


async def test_a_status_that_the_api_server_refuses_is_no_fault_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The CRDs may be older than the operator."""
    api = world()
    write, written = api.apply_status, []

    async def older(kind: Kind, namespace: str, name: str, status: Json, **guard: Any) -> Json:
        written.append(status["phase"])
        raise Invalid(422, "Invalid", "status.phase: Unsupported value")

    monkeypatch.setattr(api, "apply_status", older)
    with pytest.raises(Invalid):
        await reconcile(operator(api), KEY)
    monkeypatch.setattr(api, "apply_status", write)
    await run(api)
    assert written == ["Pending"]
    assert api.objects[KEY]["status"]["phase"] == "Succeeded"


async def test_an_object_that_is_gone_or_going_is_left_alone() -> None:
    api = Api()
    await reconcile(operator(api), KEY)
    obj = training_job()
    obj["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    api.put(TRAININGJOB, obj)
    await reconcile(operator(api), KEY)
    assert api.writes == []


def test_a_version_wakes_the_run_that_made_it() -> None:
    api = world()
    store = operator(api).store
    uid = training_job()["metadata"]["uid"]
    mine = version(2, lineage={"trainingJob": {"name": "flights-1", "uid": uid}})
    assert related(store, mine) == [KEY]
    assert related(store, version(2, lineage={"trainingJob": {"name": "flights-1", "uid": "old"}})) == []
    assert related(store, version(1)) == []
    assert json.dumps(related(store, deployment(1))) == "[]"
