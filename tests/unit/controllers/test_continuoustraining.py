"""The ContinuousTraining's controller turns lost quality into one TrainingJob, across crashes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.controllers.training_api import Api, Crash, Servers, operator
from tests.unit.domain.test_triggers import auc
from tests.unit.domain.test_triggers_plan import training
from tests.unit.domain.training_world import deployment, training_job, version

from noria_operator.controllers.continuoustraining import reconcile, related
from noria_operator.controllers.worker import mark_stalled
from noria_operator.domain.drift.columns import Column, Reference
from noria_operator.domain.estimated_errors import ErrorsByBin
from noria_operator.domain.fairness import Slicing
from noria_operator.domain.quality import Labels
from noria_operator.domain.serving_children import selector
from noria_operator.domain.training_times import stamp
from noria_operator.evidence.totals import Totals
from noria_operator.kube.errors import Terminal
from noria_operator.kube.kinds import CONTINUOUSTRAINING, MODELDEPLOYMENT, MODELVERSION, POD, TRAININGJOB, Key
from noria_operator.kube.store import Store
from noria_serving.contract import SCORE_BINS

Json = dict[str, Any]
KEY = Key(CONTINUOUSTRAINING, "demo", "flights")
QUALITY = {"metric": "auc", "relativeDrop": "0.05", "minLabels": 500, "for": 2}
ACCEPTED = {"metrics": {"auc": "0.75"}, "rows": 10, "digest": "d"}


def world(**spec: Any) -> Api:
    api = Api()
    triggers = [{"name": "quality", "performance": QUALITY}]
    api.put(CONTINUOUSTRAINING, training(**{"triggers": triggers} | spec))
    api.put(MODELVERSION, version(1, evaluation=ACCEPTED))
    api.put(MODELDEPLOYMENT, deployment(1))
    return api


async def watch(api: Api, *joined: Labels | None) -> None:
    """One pass of a newly started operator a minute, with these labels in the open window."""
    for labels in joined:
        try:
            await reconcile(operator(api, Servers(labels)), KEY)
        except Crash:
            api.crash_after = None
        api.clock.time += timedelta(minutes=1)


def say(api: Api, id_: str) -> None:
    """A person asks for a run."""
    obj = api.objects[KEY]
    obj["metadata"]["annotations"] = {"noria.dev/retrain": id_}
    api.put(CONTINUOUSTRAINING, obj)


def jobs(api: Api) -> list[str]:
    return [obj["metadata"]["name"] for obj in api.all(TRAININGJOB)]


async def test_two_windows_of_lost_quality_start_one_run_with_its_reason() -> None:
    api = world()
    await watch(api, None, auc(0.6), auc(0.6), auc(0.6), auc(0.6))
    (name,) = jobs(api)
    made = api.objects[Key(TRAININGJOB, "demo", name)]
    assert made["spec"]["deployment"] == "flights"
    assert made["metadata"]["ownerReferences"][0]["uid"] == api.objects[KEY]["metadata"]["uid"]
    why = json.loads(made["metadata"]["annotations"]["noria.dev/trigger"])
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (why["threshold"], why["interval"]) == ("0.7125", entry["interval"])
    assert api.objects[KEY]["status"]["blockedBy"] == "Concurrency"


@pytest.mark.parametrize("writes", range(6))
async def test_a_crash_after_any_write_makes_the_same_one_run(writes: int) -> None:
    api = world()
    api.crash_after = writes
    await watch(api, None, auc(0.6), auc(0.6), auc(0.6), auc(0.6), auc(0.6))
    assert len(jobs(api)) == 1
    status = api.objects[KEY]["status"]
    assert len(status["runs"]) == 1
    assert status["lastTrigger"]["trainingJob"] == jobs(api)[0]


async def test_an_open_window_is_read_from_where_it_began_and_writes_nothing() -> None:
    api = world()
    begun = api.clock.time
    await watch(api, None)
    servers, before = Servers(auc(0.6, 100)), len(api.writes)
    ctx = operator(api, servers)
    result = await reconcile(ctx, KEY)
    assert servers.asked == [begun]
    assert len(api.writes) == before
    assert result.after == ctx.config.counters_interval


async def test_labels_come_from_the_pods_of_the_deployment_that_is_there_now() -> None:
    api = world()
    for name, uid in (("mine", "deployment-flights"), ("of-one-deleted", "old")):
        labels = selector("flights", uid)
        meta = {"name": name, "namespace": "demo", "uid": name, "labels": labels}
        api.put(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}})
    await watch(api, None)
    servers = Servers(auc(0.6, 100))
    await reconcile(operator(api, servers), KEY)
    assert servers.read == ["mine"]


async def test_a_schedule_wakes_itself_at_the_very_time() -> None:
    api = world(triggers=[{"name": "weekly", "schedule": "0 13 * * *"}])
    result = await reconcile(operator(api), KEY)
    assert result.after == timedelta(hours=1)
    api.clock.time += timedelta(hours=1)
    await reconcile(operator(api), KEY)
    assert len(jobs(api)) == 1
    await watch(api, None, None)
    assert len(jobs(api)) == 1


async def test_a_trigger_that_is_added_later_does_not_fire_for_its_past() -> None:
    api = world(triggers=[])
    await watch(api, None)
    api.clock.time += timedelta(minutes=64)
    edited = api.objects[KEY] | {"spec": training(triggers=[{"name": "x", "schedule": "0 13 * * *"}])["spec"]}
    api.put(CONTINUOUSTRAINING, edited)
    await watch(api, None)
    assert jobs(api) == []


@pytest.mark.parametrize("said", ["please-1", "please " * 100])
async def test_an_annotation_starts_a_run_once(said: str) -> None:
    api = world(cooldown="0s")
    say(api, said)
    await watch(api, None, None)
    for job in api.all(TRAININGJOB):
        api.put(TRAININGJOB, job | {"status": {"phase": "Failed"}})
    await watch(api, None, None)
    assert len(jobs(api)) == 1
    assert api.objects[KEY]["status"]["commands"] == {"retrain": said[:256]}


async def test_a_run_that_the_cache_does_not_show_yet_is_live_all_the_same() -> None:
    """A new leader may know the loop's status before it knows the TrainingJob that the old one made."""
    api = world(cooldown="0s")
    say(api, "1")
    await watch(api, None)
    (name,) = jobs(api)
    say(api, "2")
    job = api.objects.pop(Key(TRAININGJOB, "demo", name))
    late = operator(api)
    api.objects[Key(TRAININGJOB, "demo", name)] = job
    await reconcile(late, KEY)
    assert jobs(api) == [name]
    del api.objects[Key(TRAININGJOB, "demo", name)]
    await watch(api, None)
    assert len(jobs(api)) == 1


async def test_a_template_that_the_api_server_refuses_is_terminal_and_its_run_stays_intended() -> None:
    api = world()
    obj = api.objects[KEY]
    obj["metadata"]["annotations"] = {"noria.dev/retrain": "please-1"}
    api.put(CONTINUOUSTRAINING, obj)
    api.refused = frozenset({TRAININGJOB})
    with pytest.raises(Terminal, match=r"correct spec\.template"):
        await reconcile(operator(api), KEY)
    api.refused = frozenset()
    await watch(api, None)
    assert jobs(api) == [api.objects[KEY]["status"]["runs"][0]["trainingJob"]]


async def test_a_template_or_schedule_that_cannot_be_used_is_terminal() -> None:
    api = world(triggers=[{"name": "weekly", "schedule": "0 2 31 2 *"}])
    with pytest.raises(Terminal, match="not a cron"):
        await reconcile(operator(api), KEY)
    api = world(deployment="Not A Name")
    with pytest.raises(Terminal, match="deployment"):
        await reconcile(operator(api), KEY)
    assert api.writes == []


async def test_a_spec_that_cannot_be_used_is_told_as_what_holds_every_run() -> None:
    api = world(triggers=[{"name": "weekly", "schedule": "0 2 * * 1", "timeZone": "Not/There"}])
    ctx = operator(api)
    with pytest.raises(Terminal) as refused:
        await reconcile(ctx, KEY)
    await mark_stalled(ctx, KEY, refused.value)
    assert api.objects[KEY]["status"]["blockedBy"] == "InvalidSpec"
    api.put(CONTINUOUSTRAINING, api.objects[KEY] | {"spec": training()["spec"]})
    await watch(api, None)
    assert api.objects[KEY]["status"]["blockedBy"] == ""


async def test_a_loop_that_a_newer_operator_wrote_starts_nothing_and_leaves_its_run_alone() -> None:
    api = world()
    run = training_job("flights-7")
    api.put(CONTINUOUSTRAINING, training(newField=1) | {"status": {"active": "flights-7"}})
    api.put(TRAININGJOB, run)
    with pytest.raises(Terminal, match=r"spec\.newField"):
        await reconcile(operator(api), KEY)
    assert (api.writes, [one["metadata"]["name"] for one in api.all(TRAININGJOB)]) == ([], ["flights-7"])


def test_its_deployment_and_the_versions_of_its_model_wake_it() -> None:
    store = operator(world()).store
    assert related(store, deployment(1)) == [KEY]
    assert related(store, deployment(1, name="other")) == []
    assert related(store, version(4)) == [KEY]
    assert related(store, version(4, model="taxis")) == []


async def test_the_windows_of_a_deployment_that_is_gone_are_forgotten() -> None:
    api, servers = world(), Servers()
    await reconcile(operator(api, servers), KEY)
    assert servers.forgotten == []
    del api.objects[Key(MODELDEPLOYMENT, "demo", "flights")]
    await reconcile(operator(api, servers), KEY)
    assert servers.forgotten[0] == "flights"


async def test_a_loop_that_is_given_another_deployment_does_not_ask_for_the_quality_of_the_one_before() -> (
    None
):
    api = world()
    await watch(api, None, auc(0.9), auc(0.9))
    assert api.objects[KEY]["status"]["triggers"][0]["best"] > "0.85"
    api.put(MODELDEPLOYMENT, deployment(1, name="prod"))
    obj = api.objects[KEY]
    obj["spec"]["deployment"] = "prod"
    api.put(CONTINUOUSTRAINING, obj)
    await watch(api, None, auc(0.75), auc(0.75), auc(0.75), auc(0.75))
    assert jobs(api) == []
    assert api.objects[KEY]["status"]["triggers"][0]["best"] < "0.8"


async def labelled(api: Api, *rows: int | None) -> None:
    """One pass of a newly started operator a minute, with so many labels in the open window; None: a pod that
    must have counts is silent.
    """
    for count in rows:
        await reconcile(operator(api, Joined(rows=count)), KEY)
        api.clock.time += timedelta(minutes=1)


@dataclass
class Joined(Servers):
    """Servers with so many labels in the window that is asked for first, and none in one that follows."""

    rows: int | None = None

    async def complete(self, *_: Any, since: datetime) -> Totals | None:
        self.asked.append(since)
        counted = self.rows if since == min(self.asked) else 0
        return None if counted is None else Totals({"scores/any/positives": (counted,)})


async def test_labels_of_a_pod_that_is_silent_when_the_hour_ends_are_in_the_window() -> None:
    api = world(triggers=[{"name": "labels", "newSamples": {"count": 900}, "action": "Observe"}])
    await labelled(api, 0)
    api.clock.time += timedelta(hours=1)
    (before,) = api.objects[KEY]["status"]["triggers"]
    await labelled(api, None)
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["windowStartedAt"], entry["samples"]) == (before["windowStartedAt"], 0)
    await labelled(api, 500)
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["windowStartedAt"] > before["windowStartedAt"], entry["samples"]) == (True, 500)


async def test_new_labels_and_age_together_start_a_run_and_begin_anew() -> None:
    triggers = [
        {"name": "labels", "newSamples": {"count": 900}, "action": "Observe"},
        {"name": "old", "maxAge": "1h", "action": "Observe"},
        {"name": "both", "combine": {"of": ["labels", "old"]}},
    ]
    api = world(triggers=triggers, cooldown="0s")
    await labelled(api, None, 500)
    assert jobs(api) == []
    await labelled(api, 1000)
    (name,) = jobs(api)
    status = api.objects[KEY]["status"]
    assert (status["lastTrigger"]["name"], status["lastTrigger"]["reason"]) == ("both", "Combine")
    entries = {one["name"]: one for one in status["triggers"]}
    assert entries["labels"]["state"]["labels"] == 0
    assert (
        '"reason": "Combine"'
        in api.objects[Key(TRAININGJOB, "demo", name)]["metadata"]["annotations"]["noria.dev/trigger"]
    )
    await labelled(api, 100, 100)
    assert jobs(api) == [name]


async def test_a_new_champion_is_not_watched_before_it_is_warm() -> None:
    api = world(warmup="10m")
    begun = api.clock.time
    result = await reconcile(operator(api), KEY)
    servers = Servers(auc(0.5))
    await reconcile(operator(api, servers), KEY)
    assert (servers.asked, result.after) == ([], timedelta(seconds=15))
    api.clock.time = begun + timedelta(minutes=10)
    await reconcile(operator(api, servers), KEY)
    assert servers.asked == [begun + timedelta(minutes=10)]


async def test_a_live_run_is_replaced_only_once_it_is_gone() -> None:
    api = world(cooldown="0s", concurrencyPolicy="Replace")
    say(api, "1")
    await watch(api, None)
    (first,) = jobs(api)
    say(api, "2")
    await watch(api, None)
    await watch(api, None)
    (second,) = jobs(api)
    assert second != first
    assert [run.get("result") for run in api.objects[KEY]["status"]["runs"]] == ["Replaced", None]


def counted(name: str, missing: int) -> Totals:
    """Counts of a thousand rows by the champion's pods, and as many by those of another version."""
    good, other = (100,) * 10, (1000, *[0] * 9)
    bins = tuple(0 for _ in good) if missing else good
    return Totals(
        {
            f"features/flights-1/{name}/bins": bins,
            f"features/flights-1/{name}/missing": (missing,),
            "prediction/flights-1/bins": good,
            f"features/flights-2/{name}/bins": other,
            "prediction/flights-2/bins": other,
        }
    )


BINS = Reference(1000, (Column("delay", (100,) * 10),), Column("__prediction__", (100,) * 10))


async def seen(api: Api, *totals: Totals | None) -> None:
    """One pass of a newly started operator an hour, with these counts in the open window."""
    for one in totals:
        await reconcile(operator(api, Servers(totals=one, bins=BINS)), KEY)
        api.clock.time += timedelta(hours=1)


async def test_broken_data_blocks_the_schedule_until_it_is_gone() -> None:
    dirty = {"name": "dirty", "dataQuality": {"window": "30m"}}
    api = world(triggers=[dirty, {"name": "daily", "schedule": "0 * * * *"}])
    await seen(api, None, counted("delay", 1000), counted("delay", 1000), counted("delay", 1000))
    status = api.objects[KEY]["status"]
    assert (status["blockedBy"], jobs(api)) == ("Trigger", [])
    assert status["triggers"][0]["columns"][0]["check"] == "completeness"
    assert "TriggerBlocks" in api.events
    await seen(api, counted("delay", 0), counted("delay", 0))
    assert len(jobs(api)) == 1
    assert "TriggerQuiet" in api.events


async def test_a_restart_in_a_long_window_blocks_nothing_for_rows_that_are_forgotten() -> None:
    api = world(triggers=[{"name": "dirty", "dataQuality": {"window": "1h", "minRows": 5000}}])
    few = counted("delay", 0)
    await seen(api, None, replace(few, whole=False))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["decision"], entry["reason"]) == ("No", "Clean")
    await seen(api, few)
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["decision"], entry["columns"][0]["check"]) == ("Block", "volume")


async def test_where_counts_cannot_be_read_the_last_decision_stands_and_the_entry_says_why() -> None:
    api = world(triggers=[{"name": "dirty", "dataQuality": {"window": "30m"}}])
    await seen(api, None, counted("delay", 1000))
    (before,) = api.objects[KEY]["status"]["triggers"]
    assert before["decision"] == "Block"
    for _ in range(3):
        api.clock.time += timedelta(hours=1)
        await reconcile(operator(api, Servers(unreadable="prom: no answer within 5 s")), KEY)
        (entry,) = api.objects[KEY]["status"]["triggers"]
        assert entry == before | {"problem": "prom: no answer within 5 s"}
    await seen(api, counted("delay", 0))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["decision"], "problem" in entry) == ("No", False)


async def test_a_window_ends_where_its_counts_do_and_the_next_one_begins_there() -> None:
    api = world(triggers=[{"name": "dirty", "dataQuality": {"window": "30m"}}])
    await seen(api, None)
    ended = api.clock.now() - timedelta(seconds=40)
    await seen(api, replace(counted("delay", 0), until=ended))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["windowEndedAt"], entry["windowStartedAt"]) == (stamp(ended), stamp(ended))
    servers = Servers(totals=counted("delay", 0), bins=BINS)
    await reconcile(operator(api, servers), KEY)
    assert servers.asked == [ended]


async def test_a_window_waits_for_the_weeks_before_and_is_compared_with_them() -> None:
    rule = {"compareWith": "SameHour", "predictions": False, "for": 1, "of": 1, "minSamples": 100}
    api = world(triggers=[{"name": "season", "timeZone": "Europe/Berlin", "drift": rule}])
    await seen(api, None)
    begun = api.clock.now() - timedelta(hours=1)
    api.clock.time += timedelta(minutes=1)
    (opened,) = api.objects[KEY]["status"]["triggers"]
    waiting = Servers(totals=counted("delay", 0), bins=BINS, remembers=True)
    await reconcile(operator(api, waiting), KEY)
    assert api.objects[KEY]["status"]["triggers"] == [opened], "the source has not answered"
    assert waiting.looked_back[0][0] == (begun - timedelta(weeks=1), api.clock.now() - timedelta(weeks=1))
    told = Servers(
        totals=counted("delay", 0), bins=BINS, remembers=True, weeks=(counted("delay", 0), Totals({}))
    )
    await reconcile(operator(api, told), KEY)
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["reason"], entry["samples"]) == ("Steady", 1000)
    assert "the same time of the week before (1000 rows of flights-1)" in entry["message"]
    few = Servers(totals=Totals({"prediction/flights-1/bins": (5, 5)}), bins=BINS, remembers=True)
    api.clock.time += timedelta(hours=2)
    await reconcile(operator(api, few), KEY)
    assert few.looked_back == [], "a window with too few rows stays open"


async def test_pods_remember_no_week_and_the_entry_says_what_does() -> None:
    api = world(triggers=[{"name": "season", "drift": {"compareWith": "SameHour"}}])
    await seen(api, None, counted("delay", 0))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["decision"], entry["reason"]) == ("Wait", "NoHistory")
    assert "countsFrom" in entry["message"]


async def test_labels_that_stopped_are_found_across_restarts_and_a_new_champion() -> None:
    """Each pass is a newly started operator's."""
    rule = {"window": "30m", "maxLabelAge": "3h", "for": 1}
    api = world(triggers=[{"name": "flow", "dataQuality": rule, "action": "Warn"}])

    def came(labels: int) -> Totals:
        return Totals({**counted("delay", 0).counts, "scores/any/positives": (labels,)})

    await seen(api, None, came(5), came(0), came(0))
    assert api.objects[KEY]["status"]["triggers"][0]["reason"] == "Clean"
    api.put(MODELVERSION, version(2, evaluation=ACCEPTED))
    api.put(MODELDEPLOYMENT, deployment(2))
    await seen(api, came(0), came(0), came(0))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["version"], entry["reason"], entry["decision"]) == ("flights-2", "Violated", "Warn")
    assert "no labels for 5h (freshness, tolerated 3h)" in entry["message"]
    assert "TriggerWarns" in api.events
    await seen(api, came(1))
    assert api.objects[KEY]["status"]["triggers"][0]["reason"] == "Clean"


@pytest.mark.parametrize(
    ("weights", "bound"),
    [((100, 0), {"minRows": 2000}), ((99, 1), {"maxRows": 1500})],
    ids=["rolled back", "after copies"],
)
async def test_rows_of_a_challenger_are_clients_or_copies_whatever_its_weight_is_at_the_end(
    weights: tuple[int, int], bound: Json
) -> None:
    served = deployment(1)
    served["status"]["traffic"] = [
        {"version": f"flights-{number}", "weight": weight} for number, weight in enumerate(weights, 1)
    ]
    api = world(triggers=[{"name": "flow", "dataQuality": {"window": "1h", **bound}}])
    api.put(MODELDEPLOYMENT, served)
    await seen(api, None, counted("delay", 0))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["reason"], entry["samples"]) == ("Clean", 1000)


@pytest.mark.parametrize(("version", "found"), [("flights-1", "Clean"), ("flights-2", "Violated")])
async def test_copies_for_another_configuration_of_the_version_are_no_volume(
    version: str, found: str
) -> None:
    """Noted while the window is open, also where the rollout is over before the window is."""
    api = world(triggers=[{"name": "flow", "dataQuality": {"window": "2h", "maxRows": 600}}])
    await seen(api, None)
    for mirror in (100, None):
        served = deployment(1)
        served["status"]["traffic"] = [
            {"version": "flights-1", "weight": 100},
            {"version": version, "weight": 0, **({"mirror": mirror} if mirror else {})},
        ]
        api.put(MODELDEPLOYMENT, served)
        await seen(api, None)
    mine = {place: rows for place, rows in counted("delay", 0).counts.items() if "flights-1" in place}
    await seen(api, Totals(mine))
    assert api.objects[KEY]["status"]["triggers"][0]["reason"] == found


async def test_counts_of_another_version_are_no_drift_of_the_champion() -> None:
    api = world(triggers=[{"name": "drift", "drift": {}}])
    await seen(api, None, counted("delay", 0), counted("delay", 0), counted("delay", 0))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["reason"], entry["samples"]) == ("Steady", 1000)
    assert api.events == ["TriggerDecided"] * 2, "a window is open, and no is said once"


async def test_a_window_of_which_a_header_led_requests_past_the_champion_is_not_compared() -> None:
    """Noted while it is open, also where the rollout is over before the window is."""
    api = world(triggers=[{"name": "drift", "drift": {"window": "3h"}}])
    await seen(api, None)
    for match in ([{"name": "market", "value": "de"}], None):
        served = deployment(1)
        served["status"]["traffic"] = [
            {"version": "flights-1", "weight": 100},
            {"version": "flights-2", "weight": 0, **({"match": match} if match else {})},
        ]
        api.put(MODELDEPLOYMENT, served)
        await seen(api, None)
        assert api.objects[KEY]["status"]["triggers"][0]["state"]["aside"]
    await seen(api, counted("delay", 0))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["decision"], entry["reason"], entry["samples"]) == ("Wait", "RolloutUnderWay", 1000)
    await seen(api, None, None, counted("delay", 0))
    assert api.objects[KEY]["status"]["triggers"][0]["reason"] == "Steady"


async def test_quality_lost_for_some_starts_a_run_that_says_for_whom() -> None:
    rule = {"metric": "accuracy", "relativeDrop": "0.05", "minLabels": 1000, "bySlice": True}
    api = world(triggers=[{"name": "groups", "performance": rule}])
    bins = replace(BINS, slices=(Slicing("sex", ("f", "m")),))

    async def window(wrong: int | None) -> Json:
        counts = {
            "task/flights-1/binary": (),
            "slice_labels/flights-1/0/0": (450, 50, 50, 450),
            "slice_labels/flights-1/0/1": (500 - (wrong or 0), wrong or 0, 0, 500),
            "scores/flights-1/negatives": (2000,) + (0,) * (SCORE_BINS - 1),
            "prediction/flights-1/bins": (400,) * 10,
        }
        servers = Servers(totals=Totals(counts) if wrong is not None else None, bins=bins)
        await reconcile(operator(api, servers), KEY)
        api.clock.time += timedelta(hours=1)
        return dict(api.objects[KEY]["status"]["triggers"][0])

    for wrong in (None, 100, 100):
        entry = await window(wrong)
    assert (entry["decision"], entry["coverage"], jobs(api)) == ("No", "0.5", [])
    for wrong in (250, 250):
        entry = await window(wrong)
    assert entry["columns"][0]["name"] == "sex=m"
    assert len(jobs(api)) == 1
    assert "in sex=m on 1000 labels of flights-1 is worse than" in entry["message"]
    assert api.objects[KEY]["status"]["runs"][0]["reason"] == "Performance"


async def test_scores_alone_warn_of_lost_quality() -> None:
    rule = {"metric": "accuracy", "min": "0.8", "for": 1, "window": "30m"}
    api = world(triggers=[{"name": "early", "estimatedPerformance": rule}])
    unsure = [0] * 128
    unsure[70] = 1000
    await seen(api, None, Totals({"outputs/flights-1/-7/0": tuple(unsure)}))
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["decision"], entry["samples"], jobs(api)) == ("Warn", 1000, [])
    assert float(entry["value"]) == pytest.approx(70.5 / 128, abs=1e-3)
    assert api.events == ["TriggerDecided", "TriggerWarns"]


async def test_scores_are_calibrated_by_what_the_bundle_knows_of_held_out_rows() -> None:
    """A model that claims 0.95 and is right in 0.7, before any label of the window came."""
    rule = {"metric": "accuracy", "min": "0.8", "for": 1, "window": "30m"}
    api = world(triggers=[{"name": "early", "estimatedPerformance": rule}])
    seen_ = [0] * 128
    seen_[121] = 1000
    servers = Servers(bins=replace(BINS, calibration=((121.5 / 128, 300.0, 700.0),)))
    await reconcile(operator(api, servers), KEY)
    api.clock.time += timedelta(hours=1)
    servers.totals = Totals({"outputs/flights-1/-7/0": tuple(seen_)})
    await reconcile(operator(api, servers), KEY)
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["decision"], entry["value"], entry["samples"]) == ("Warn", "0.7", 1000)


async def test_errors_that_became_more_frequent_start_one_run() -> None:
    api = world(triggers=[{"name": "concept", "conceptDrift": {}}])

    def step(wrong: int) -> Totals:
        sides = {"negatives": 100 - wrong, "positives": wrong}
        return Totals(
            {f"scores/flights-1/{side}": (count,) + (0,) * (SCORE_BINS - 1) for side, count in sides.items()}
        )

    await seen(api, None, *[step(10)] * 20, *[step(60)] * 3)
    assert len(jobs(api)) == 1
    assert api.objects[KEY]["status"]["runs"][0]["reason"] == "ConceptDrift"


def several(right: int, wrong: int, place: int = 80) -> Totals:
    """A window of a classifier of three classes whose scores are all 0.4."""
    row = [0] * SCORE_BINS
    counts = {
        f"scores/flights-1/{side}": (*row[:place], count, *row[place + 1 :])
        for side, count in (("negatives", wrong), ("positives", right))
    }
    return Totals({"task/flights-1/multiclass": (), **counts})


async def test_several_classes_are_right_by_the_likeliest_one() -> None:
    concept, quality = (
        {"name": "concept", "conceptDrift": {}},
        {"name": "quality", "performance": {"metric": "accuracy", "min": "0.6", "minLabels": 100, "for": 1}},
    )
    api = world(triggers=[concept, quality])
    await seen(api, None, *[several(90, 10)] * 20)
    entries = api.objects[KEY]["status"]["triggers"]
    assert [one["decision"] for one in entries] == ["No", "No"]
    assert entries[1]["value"] == "0.9"
    await seen(api, *[several(40, 60)] * 3)
    assert [one["reason"] for one in api.objects[KEY]["status"]["runs"]] == ["ConceptDrift"]
    assert api.objects[KEY]["status"]["triggers"][1]["value"] == "0.4"


async def test_what_a_model_cannot_tell_is_an_error_that_a_person_sees() -> None:
    quality = {"name": "quality", "performance": {"metric": "rmse", "max": "0.5"}}
    early = {"name": "early", "estimatedPerformance": {"metric": "f1", "min": "0.8"}}
    api = world(triggers=[quality, early, {"name": "concept", "conceptDrift": {}}])
    await seen(api, None, several(90, 10))
    status = api.objects[KEY]["status"]
    assert [one["decision"] for one in status["triggers"]] == ["Error", "Error", "No"]
    assert "use one of accuracy" in status["triggers"][0]["message"]
    stalled = next(one for one in status["conditions"] if one["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "MetricUnsuitable")
    assert "trigger early: f1 of several classes" in stalled["message"]
    ready = next(one for one in status["conditions"] if one["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "MetricUnsuitable")
    assert status["message"] == f"watching flights; {stalled['message']}"
    before = len(api.writes)
    await seen(api, several(180, 20))
    assert len(api.writes) == before + 1, "conceptDrift took a step, the refusals say nothing new"
    regression = Totals({"task/flights-1/regression": ()})
    api = world(triggers=[{"name": "concept", "conceptDrift": {}}])
    await seen(api, None, regression)
    (entry,) = api.objects[KEY]["status"]["triggers"]
    assert (entry["decision"], entry["reason"]) == ("Error", "MetricUnsuitable")


async def test_errors_by_prediction_warn_before_labels_come() -> None:
    rule = {"metric": "rmse", "relativeDrop": "0.2", "for": 1, "window": "30m"}
    api = world(triggers=[{"name": "early", "estimatedPerformance": rule}])
    known = ErrorsByBin(
        "training",
        (100,) * 10,
        **{
            name: tuple(100.0 * (place + 1) ** power for place in range(10))
            for name, power in (("absolute", 1), ("squared", 2), ("fourth", 4))
        },
    )

    async def window(bins: Any, errors: ErrorsByBin | None = known) -> Json:
        totals = (
            Totals({"task/flights-1/regression": (), "prediction/flights-1/bins": bins}) if bins else None
        )
        servers = Servers(totals=totals, bins=replace(BINS, errors=errors))
        await reconcile(operator(api, servers), KEY)
        api.clock.time += timedelta(hours=1)
        return dict(api.objects[KEY]["status"]["triggers"][0])

    await window(None)
    assert (await window((100,) * 10))["value"] == str(round(38.5**0.5, 6))
    entry = await window((0,) * 9 + (1000,))
    assert (entry["decision"], entry["value"], entry["samples"]) == ("Warn", "10.0", 1000)
    assert "errors of training, which are smaller than those to come" in entry["message"]
    assert "cannot see a change of the concept" in entry["message"]
    entry = await window((100,) * 10, None)
    assert (entry["decision"], entry["reason"]) == ("Error", "MetricUnsuitable")


async def test_an_open_window_of_features_is_read_and_not_added_up() -> None:
    api = world(triggers=[{"name": "drift", "drift": {"window": "2h"}}])
    await seen(api, None)
    servers, before = Servers(totals=counted("delay", 0), bins=BINS), len(api.writes)
    result = await reconcile(operator(api, servers), KEY)
    assert (len(servers.kept), servers.asked, len(api.writes)) == (1, [], before)
    assert result.after is not None


async def test_two_loops_of_one_model_run_one_after_the_other_and_wait_for_what_people_started() -> None:
    spec = {"triggers": [{"name": "often", "schedule": "*/5 * * * *"}], "cooldown": "0s"}
    api = world(**spec)
    other = training(**spec)
    other["metadata"] |= {"name": "second", "uid": "ct-2"}
    api.put(CONTINUOUSTRAINING, other)
    keys = (KEY, Key(CONTINUOUSTRAINING, "demo", "second"))

    async def pass_() -> Store:
        ctx = operator(api, Servers(None))
        await asyncio.gather(*(reconcile(ctx, key) for key in keys))
        return ctx.store

    await pass_()
    api.clock.time += timedelta(minutes=5)
    await pass_()
    store = await pass_()
    (name,) = jobs(api)
    held = [api.objects[key]["status"] for key in keys if not api.objects[key]["status"].get("runs")]
    assert [one["blockedBy"] for one in held] == ["Concurrency"]
    made = api.objects[Key(TRAININGJOB, "demo", name)]
    assert set(related(store, made)) == set(keys)
    api.put(TRAININGJOB, made | {"status": {"phase": "Succeeded"}})
    await pass_()
    assert len(jobs(api)) == 2


async def test_a_loop_takes_account_of_the_newest_run_of_the_others_of_its_deployment() -> None:
    api = world(cooldown="6h")
    at = {name: stamp(api.clock.time + timedelta(hours=hours)) for name, hours in (("x-3", -99), ("x-2", -2))}
    runs = [{"at": time, "trainingJob": name} for name, time in at.items()]
    ahead = [{"at": stamp(api.clock.time + timedelta(hours=9)), "trainingJob": "ahead"}]
    for name, where, known in (
        ("second", "flights", runs),
        ("third", "flights", ahead),
        ("fourth", "other", runs),
    ):
        other = training(deployment=where)
        other["metadata"] |= {"name": name, "uid": name}
        api.put(CONTINUOUSTRAINING, other | {"status": {"runs": known}})
    await watch(api, None, auc(0.6), auc(0.6), auc(0.6))
    assert jobs(api) == []
    assert "after x-2 of another loop" in api.objects[KEY]["status"]["triggers"][0]["message"]
    api.clock.time += timedelta(hours=4)
    await watch(api, None, None)
    assert len(jobs(api)) == 1


@pytest.mark.parametrize(("result", "started"), [("Promoted", 1), ("Failed", 0)])
async def test_runs_of_other_loops_that_follow_close_upon_one_another_hold_no_run(
    result: str, started: int
) -> None:
    """One that came to nothing held none, and so the next one does."""
    api = world(cooldown="6h")
    for name, hours, more in (("second", -5, {"result": result}), ("third", -1, {})):
        other = training()
        other["metadata"] |= {"name": name, "uid": name}
        run = {"at": stamp(api.clock.time + timedelta(hours=hours)), "trainingJob": f"{name}-1"} | more
        api.put(CONTINUOUSTRAINING, other | {"status": {"runs": [run]}})
    await watch(api, None, auc(0.6), auc(0.6), auc(0.6))
    assert len(jobs(api)) == started


async def test_what_two_loops_saw_in_the_same_windows_is_trained_for_once() -> None:
    api = world(cooldown="0s")
    other = training(triggers=api.objects[KEY]["spec"]["triggers"], cooldown="0s")
    other["metadata"] |= {"name": "second", "uid": "ct-2"}
    api.put(CONTINUOUSTRAINING, other)

    async def pass_(labels: Labels | None) -> None:
        for key in (KEY, Key(CONTINUOUSTRAINING, "demo", "second")):
            await reconcile(operator(api, Servers(labels)), key)
        api.clock.time += timedelta(minutes=1)

    for labels in (None, auc(0.6), auc(0.6), None):
        await pass_(labels)
    (name,) = jobs(api)
    made = api.objects[Key(TRAININGJOB, "demo", name)]
    refused = {"type": "Failed", "status": "True", "reason": "GateFailed"}
    api.put(TRAININGJOB, made | {"status": {"phase": "Failed", "conditions": [refused]}})
    await pass_(None)
    assert jobs(api) == [name]
    (entry,) = api.objects[Key(CONTINUOUSTRAINING, "demo", "second")]["status"]["triggers"]
    assert f"answered by {name} of another loop" in entry["message"]
