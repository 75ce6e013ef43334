from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from noria_operator.cli import text
from noria_operator.cli.cluster import Cluster, CommandError, find
from noria_operator.cli.main import changes, main, parser, run
from noria_operator.cli.text import traffic

Json = dict[str, Any]

DEPLOYMENT: Json = {
    "kind": "ModelDeployment",
    "metadata": {"name": "flight-delay"},
    "status": {
        "phase": "Progressing",
        "message": "step 1 of 2",
        "stable": {"version": "flight-delay-3"},
        "candidate": {"version": "flight-delay-4", "name": "flight-delay-4-def456"},
        "traffic": [
            {"version": "flight-delay-3", "weight": 90, "verified": True},
            {"version": "flight-delay-4", "weight": 10, "verified": False},
        ],
        "analysis": {
            "verdict": "Hold",
            "message": "errors: too few requests",
            "measures": [
                {"name": "errors", "verdict": "Hold", "message": "too few requests"},
                {"name": "latency", "verdict": "Pass", "message": "as good as the champion"},
            ],
        },
        "rejected": [{"version": "flight-delay-2", "reason": "Errors", "at": "t"}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "fine"}],
        "champions": [{"version": "flight-delay-3", "revision": "r", "name": "flight-delay-3-abc123"}],
        "history": [
            {"at": "t1", "event": "Promoted", "version": "flight-delay-3", "message": "it has all traffic"},
            {"at": "t2", "event": "RolloutUndone", "message": "noria.dev/undo ada, ticket 7"},
        ],
    },
}
TRAINING: Json = {
    "kind": "ContinuousTraining",
    "metadata": {"name": "nightly"},
    "spec": {"deployment": "flight-delay"},
    "status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "Watching"}],
        "blockedBy": "Cooldown",
        "lastTrigger": {"name": "quality", "at": "t0"},
        "nextEligibleTime": "t9",
        "triggers": [
            {
                "name": "quality",
                "decision": "Wait",
                "value": "0.71",
                "threshold": "0.65",
                "samples": 900,
                "interval": "0.69 to 0.73",
                "coverage": "0.4",
                "labelDelay": "2h",
                "regret": "12.5",
                "forecast": "t6",
                "windowLength": "1h",
                "windowEndedAt": "t8",
                "message": "auc 0.71 is not worse than the threshold 0.65",
            },
            {
                "name": "drift",
                "decision": "Warn",
                "since": "t7",
                "reason": "Drifted",
                "message": "0.4 drifted",
            },
        ],
        "runs": [
            {"at": "t1", "trigger": "quality", "trainingJob": "nightly-1", "result": "Promoted"},
            {"at": "t2", "trigger": "quality", "trainingJob": "nightly-2"},
        ],
    },
}


class Fake:
    """Two objects; acknowledges commands unless `deaf`, and has `tells` in the history since then."""

    def __init__(self, *, deaf: bool = False, tells: Sequence[Json] = ()) -> None:
        self.objects = {
            ("ModelDeployment", "flight-delay"): DEPLOYMENT,
            ("ContinuousTraining", "nightly"): TRAINING,
        }
        self.deaf = deaf
        self.tells = tells
        self.given: list[tuple[str, str, dict[str, str]]] = []

    def get(self, kind: str, name: str) -> Json | None:
        found = self.objects.get((kind, name))
        if found is None or self.deaf:
            return found
        commands = {key.split("/")[1]: value for _, _, given in self.given for key, value in given.items()}
        status = {**found["status"], "commands": commands}
        if self.given and self.tells:
            status["history"] = [*status.get("history", []), *self.tells]
        return {**found, "status": status}

    def list(self, kind: str) -> list[Json]:
        return [obj for (known, _), obj in self.objects.items() if known == kind]

    def annotate(self, kind: str, name: str, annotations: dict[str, str]) -> None:
        self.given.append((kind, name, annotations))


def said(*arguments: str, cluster: Fake | None = None) -> str:
    return "\n".join(run(parser().parse_args(arguments), cluster or Fake()))


def test_status_shows_both_versions_and_which_weights_are_not_confirmed() -> None:
    text = said("status")
    assert "flight-delay-3 90%, flight-delay-4 10%?" in text
    assert "Cooldown" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["-n", "prod", "--context", "east", "why", "flight-delay"],
        ["why", "flight-delay", "-n", "prod", "--context", "east"],
        ["why", "-n", "prod", "flight-delay", "--context=east"],
        ["--context", "east", "promote", "--full", "--namespace", "prod", "flight-delay"],
        ["-n", "dev", "status", "-n", "prod", "--context", "east"],
    ],
)
def test_namespace_and_context_stand_before_or_after_the_command_as_with_kubectl(
    arguments: list[str],
) -> None:
    options = parser().parse_args(arguments)
    assert (options.namespace, options.context) == ("prod", "east")


def test_without_a_namespace_that_of_the_context_is_meant() -> None:
    options = parser().parse_args(["status"])
    assert (options.namespace, options.context) == (None, None)


def test_status_of_an_empty_namespace_says_so_in_place_of_empty_tables() -> None:
    cluster = Fake()
    cluster.objects = {}
    assert said("status", cluster=cluster) == (
        "no ModelDeployment and no ContinuousTraining in this namespace; name another with -n"
    )


def test_a_reader_who_has_seen_enough_ends_the_command_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `kubectl noria why NAME | head -1` does."""
    monkeypatch.setattr("noria_operator.cli.main.Cluster", lambda *_: Fake())
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        main(["status"])


def test_shares_that_nobody_can_confirm_and_what_they_come_to_are_shown() -> None:
    shares = [
        {"version": "a-1", "weight": 80, "assumed": True, "realised": 67},
        {"version": "a-2", "weight": 20, "assumed": True, "realised": 33},
    ]
    assert traffic({"traffic": shares}) == "a-1 80%~ (67% of pods), a-2 20%~ (33% of pods)"


def test_a_watch_begins_with_everything_and_goes_on_with_what_changes() -> None:
    looks = iter([["NAME  PHASE", "a  Healthy", "b  Healthy"], ["NAME  PHASE", "a  Paused", "b  Healthy"]])
    seen = changes(lambda: next(looks), sleep=lambda _: None)
    assert list(islice(seen, 4)) == ["NAME  PHASE", "a  Healthy", "b  Healthy", "a  Paused"]
    first = list(islice(run(parser().parse_args(["status", "-w"]), Fake()), 2))
    assert first == said("status").splitlines()[:2]


def test_a_watch_says_nothing_of_lines_that_only_stand_elsewhere() -> None:
    """Columns are as wide as their longest cell, so one that changes moves all others."""
    rows = [("NAME", "PHASE"), ("a", "Healthy"), ("b", "Healthy")]
    looks = iter([text.table(rows), text.table([*rows, ("flight-delay", "Pending")])])
    seen = changes(lambda: next(looks), sleep=lambda _: None)
    assert list(islice(seen, 4)) == [
        "NAME   PHASE",
        "a      Healthy",
        "b      Healthy",
        "flight-delay   Pending",
    ]


def test_why_tells_the_evidence_of_a_rollout() -> None:
    lines = said("why", "flight-delay").splitlines()
    assert lines[:2] == ["ModelDeployment flight-delay: Progressing", "  step 1 of 2"]
    assert "  Hold. errors Hold, too few requests. latency Pass, as good as the champion." in lines
    assert "  flight-delay-2: Errors (t)" in lines


def test_why_says_the_message_once_and_of_conditions_what_they_add() -> None:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "DigestMismatch", "message": "the bundle was changed"},
        {"type": "Stalled", "status": "True", "reason": "DigestMismatch", "message": "make another one"},
    ]
    status = {"phase": "Rejected", "message": "the bundle was changed", "conditions": conditions}
    obj = {"kind": "ModelVersion", "metadata": {"name": "rose-1"}, "status": status}
    assert text.why(obj) == [
        "ModelVersion rose-1: Rejected",
        "  the bundle was changed",
        "conditions:",
        "  Ready=False DigestMismatch",
        "  Stalled=True DigestMismatch: make another one",
    ]


def test_times_of_the_history_are_told_in_seconds() -> None:
    entry = {
        "at": "2026-11-30T04:06:26.118611Z",
        "event": "Promoted",
        "version": "m-1",
        "message": "it serves",
    }
    rejected = {"version": "m-2", "reason": "errors", "at": "2026-11-30T04:05:00.5Z"}
    status = {"history": [entry], "rejected": [rejected]}
    obj = {"kind": "ModelDeployment", "metadata": {"name": "m"}, "status": status}
    assert text.why(obj)[1:] == [
        "rejected versions:",
        "  m-2: errors (2026-11-30T04:05:00Z)",
        "history:",
        "  2026-11-30T04:06:26Z Promoted it serves",
    ]
    assert text.history(obj)[-1].split() == ["2026-11-30T04:06:26Z", "Promoted", "m-1", "it", "serves"]


def test_why_tells_the_figures_of_a_trigger_also_when_it_did_not_fire() -> None:
    assert said("why", "ct/nightly").splitlines() == [
        "ContinuousTraining nightly: Watching",
        "conditions:",
        "  Ready=True Watching",
        "triggers:",
        "  quality: Wait [value 0.71, within 0.69 to 0.73, threshold 0.65, samples 900, coverage 0.4, "
        "labels come within 2h, lost so far 12.5, worth a run from t6, window 1h, until t8] "
        "auc 0.71 is not worse than the threshold 0.65",
        "  drift: Warn [since t7, reason Drifted] 0.4 drifted",
        "runs:",
        "  t1 quality → nightly-1, Promoted",
        "  t2 quality → nightly-2, not known yet how it ended",
    ]


@pytest.mark.parametrize("verb", ["promote", "abort", "undo", "retry", "pause", "resume", "restart"])
def test_a_command_is_an_annotation_that_the_operator_acknowledges(verb: str) -> None:
    cluster = Fake()
    assert f"{verb} acknowledged" in said(verb, "flight-delay", cluster=cluster)
    [(kind, name, annotations)] = cluster.given
    assert (kind, name, list(annotations)) == ("ModelDeployment", "flight-delay", [f"noria.dev/{verb}"])


def test_traffic_says_how_requests_reach_a_version_beside_its_weight() -> None:
    header = {"name": "x-canary", "value": "always"}
    shares = [
        {"version": "m-1", "weight": 100, "verified": True},
        {"version": "m-2", "weight": 0, "mirror": 30, "match": [header]},
    ]
    assert text.traffic({"traffic": shares}) == (
        "m-1 100%, m-2 0% + copies of 30% + requests with x-canary: always?"
    )


def test_two_configurations_of_one_version_go_by_their_own_names() -> None:
    shares = [
        {"version": "m-1", "name": "m-1-ce1ba1", "weight": 80, "verified": True},
        {"version": "m-1", "name": "m-1-3d120a", "weight": 20, "verified": True},
    ]
    assert text.traffic({"traffic": shares}) == "m-1-ce1ba1 80%, m-1-3d120a 20%"
    assert text.traffic({"traffic": shares[:1]}) == "m-1 80%"


def test_why_and_status_tell_of_every_arm_of_an_experiment() -> None:
    analysis = {"verdict": "Pass", "message": "as good as the champion"}
    others = [{"version": "flight-delay-5", "analysis": analysis}]
    obj = {**DEPLOYMENT, "status": {**DEPLOYMENT["status"], "others": others}}
    lines = text.why(obj)
    at = lines.index("evidence:")
    assert lines[at + 1].startswith("  flight-delay-4 Hold. errors Hold, too few requests.")
    assert lines[at + 2] == "  flight-delay-5 Pass: as good as the champion"
    assert "flight-delay-4, flight-delay-5" in text.deployments([obj])[1]


def test_why_names_the_version_that_was_judged_last_once_it_is_on_trial_no_more() -> None:
    status = {
        **DEPLOYMENT["status"],
        "analysis": {"version": "flight-delay-4", "verdict": "Pass", "message": "good"},
    }
    status.pop("candidate")
    assert "  flight-delay-4 Pass: good" in text.why({**DEPLOYMENT, "status": status})


def test_promote_names_an_arm_before_the_id() -> None:
    for options, annotation in ((), "noria.dev/promote"), (("--full",), "noria.dev/promote-full"):
        cluster = Fake()
        said("promote", "flight-delay", "--version", "m-4", "--id", "ada", *options, cluster=cluster)
        assert [given for _, _, given in cluster.given] == [{annotation: "m-4@ada"}]


def test_promote_goes_to_the_next_step_and_with_full_to_all_traffic() -> None:
    for options, annotation in ((), "noria.dev/promote"), (("--full",), "noria.dev/promote-full"):
        cluster = Fake()
        said("promote", "flight-delay", *options, cluster=cluster)
        assert [list(given) for _, _, given in cluster.given] == [[annotation]]


APPROVALS = pytest.mark.parametrize("command", ["promote", "promote --full", "resume"])


@APPROVALS
def test_case_39_an_approval_is_for_the_revision_that_is_on_trial_when_it_is_given(command: str) -> None:
    verb, *options = command.split()
    cluster = Fake()
    assert "acknowledged" in said(verb, "flight-delay", "--id", "ada", *options, cluster=cluster)
    assert [[*given.values()] for _, _, given in cluster.given] == [["flight-delay-4-def456@ada"]]


@APPROVALS
@pytest.mark.parametrize(
    ("id_", "spec", "status"),
    [
        ("flight-delay-5@ada", {}, {}),
        ("ada", {}, {"candidate": None}),
        ("ada", {}, {"others": [{"version": "flight-delay-5"}]}),
        ("ada", {"strategy": {"experiment": {"arms": []}}}, {}),
    ],
    ids=["named-in-the-id", "nobody", "several", "experiment"],
)
def test_an_approval_goes_as_it_was_given_where_it_names_one_or_not_just_one_is_on_trial(
    command: str, id_: str, spec: Json, status: Json
) -> None:
    verb, *options = command.split()
    cluster = Fake()
    known = {name: one for name, one in {**DEPLOYMENT["status"], **status}.items() if one is not None}
    cluster.objects["ModelDeployment", "flight-delay"] = {**DEPLOYMENT, "spec": spec, "status": known}
    said(verb, "flight-delay", "--id", id_, *options, cluster=cluster)
    assert [[*given.values()] for _, _, given in cluster.given] == [[id_]]


def test_undo_names_the_version_to_go_back_to_before_the_id() -> None:
    cluster = Fake()
    said("undo", "flight-delay", "--to", "flight-delay-2", "--id", "ada, ticket 7", cluster=cluster)
    [(_, _, annotations)] = cluster.given
    assert annotations == {"noria.dev/undo": "flight-delay-2@ada, ticket 7"}


def test_history_tells_who_served_and_what_happened_and_why() -> None:
    assert said("history", "flight-delay").splitlines() == [
        "CHAMPION         REVISION",
        "flight-delay-3   flight-delay-3-abc123",
        "",
        "AT   EVENT           VERSION          MESSAGE",
        "t1   Promoted        flight-delay-3   it has all traffic",
        "t2   RolloutUndone   -                noria.dev/undo ada, ticket 7",
    ]
    with pytest.raises(CommandError, match="kubectl get noria"):
        said("history", "nightly")


def test_retrain_goes_to_the_continuous_training_and_never_has_the_same_id_twice() -> None:
    cluster = Fake()
    for _ in range(2):
        said("retrain", "nightly", cluster=cluster)
    assert {kind for kind, _, _ in cluster.given} == {"ContinuousTraining"}
    assert len({given["noria.dev/retrain"] for _, _, given in cluster.given}) == 2


def test_a_command_that_nobody_acknowledges_says_so() -> None:
    with pytest.raises(CommandError, match="did not acknowledge"):
        said("abort", "flight-delay", "--wait", "0.2", cluster=Fake(deaf=True))


def test_a_run_that_waits_for_another_says_what_for_and_not_that_the_operator_is_away() -> None:
    message = "watching flight-delay; no run starts: flight-delay is rolling out flight-delay-4"
    status = {**TRAINING["status"], "blockedBy": "Concurrency", "message": message}
    cluster = Fake(deaf=True)
    cluster.objects["ContinuousTraining", "nightly"] = {**TRAINING, "status": status}
    with pytest.raises(CommandError, match="retrain is asked for, and waits") as refused:
        said("retrain", "nightly", "--wait", "0.2", cluster=cluster)
    assert str(refused.value).endswith(f"(Concurrency): {message}")


@pytest.mark.parametrize("by", ["Cooldown", "CircuitOpen", "Trigger"])
def test_what_holds_triggers_alone_is_not_said_to_hold_a_person(by: str) -> None:
    cluster = Fake(deaf=True)
    status = {**TRAINING["status"], "blockedBy": by, "message": "watching flight-delay"}
    cluster.objects["ContinuousTraining", "nightly"] = {**TRAINING, "status": status}
    with pytest.raises(CommandError, match="did not acknowledge"):
        said("retrain", "nightly", "--wait", "0.2", cluster=cluster)


def test_a_run_that_the_budget_holds_says_until_when_whatever_else_holds_those_of_triggers() -> None:
    told = {"name": "Manual", "decision": "Blocked", "message": "a person asked; held by Budget: until t9"}
    status = {**TRAINING["status"], "blockedBy": "Trigger", "triggers": [told]}
    cluster = Fake(deaf=True)
    cluster.objects["ContinuousTraining", "nightly"] = {**TRAINING, "status": status}
    with pytest.raises(CommandError, match=r"retrain is asked for, and waits \(Budget\): until t9$"):
        said("retrain", "nightly", "--wait", "0.2", cluster=cluster)


def test_why_names_the_run_that_is_to_follow() -> None:
    cluster = Fake()
    planned = {"at": "t9", "of": "nightly-2"}
    assert "planned run" not in said("why", "nightly", cluster=cluster)
    status = {**TRAINING["status"], "followUp": planned}
    cluster.objects["ContinuousTraining", "nightly"] = {**TRAINING, "status": status}
    assert "planned run:\n  t9: follows the run nightly-2" in said("why", "nightly", cluster=cluster)


class Restarting(Fake):
    """Answers no question number `silent`, counted from the command on."""

    def __init__(self, *silent: int) -> None:
        super().__init__()
        self.silent, self.asked = silent, 0

    def get(self, kind: str, name: str) -> Json | None:
        self.asked += bool(self.given)
        if self.asked in self.silent:
            raise CommandError("the API server does not answer")
        return super().get(kind, name)


def test_a_command_is_not_said_to_have_failed_where_only_its_answer_could_not_be_read() -> None:
    """Whoever reads that gives it again, and goes on by two steps."""
    cluster = Restarting(1)
    assert "promote acknowledged" in said("promote", "flight-delay", cluster=cluster)
    assert len(cluster.given) == 1
    told = iter(run(parser().parse_args(["promote", "flight-delay"]), Restarting(2)))
    assert next(told) == "ModelDeployment flight-delay: promote acknowledged"
    with pytest.raises(CommandError, match="does not answer"):
        list(told)


def refused(command: str, at: str = "t3") -> Json:
    message = f"noria.dev/{command}: no version is on trial"
    return {"at": at, "event": "CommandRefused", "version": "flight-delay-3", "message": message}


@pytest.mark.parametrize("id_", ["ada", "ada,  ticket 7", "x" * 300])
def test_a_command_that_the_operator_refuses_ends_with_its_reason(id_: str) -> None:
    """Not as if it had been carried out."""
    told = " ".join(f"flight-delay-4-def456@{id_}"[:256].split())  # as the operator tells ids
    cluster = Fake(tells=[refused(f"promote {told}"), refused("pause ada")])
    lines = run(parser().parse_args(["promote", "flight-delay", "--id", id_]), cluster)
    with pytest.raises(CommandError, match=f"is refused: .* {told}: no version is on trial"):
        list(lines)


PROMOTED = "promote flight-delay-4-def456@ada"


@pytest.mark.parametrize("told", ["pause ada", "promote bob", f"{PROMOTED} lovelace", None])
def test_what_else_was_refused_is_another_matter(told: str | None) -> None:
    """Also the same command with the same id, some days ago."""
    cluster = Fake(tells=[refused(told)] if told else [])
    past = [*DEPLOYMENT["status"]["history"], refused(PROMOTED, at="t2")]
    status = {**DEPLOYMENT["status"], "history": past}
    cluster.objects["ModelDeployment", "flight-delay"] = {**DEPLOYMENT, "status": status}
    assert "promote acknowledged" in said("promote", "flight-delay", "--id", "ada", cluster=cluster)


def test_an_id_that_was_used_before_is_refused_since_nothing_would_happen() -> None:
    cluster = Fake()
    said("abort", "flight-delay", "--id", "ada", cluster=cluster)
    with pytest.raises(CommandError, match="another --id"):
        said("abort", "flight-delay", "--id", "ada", cluster=cluster)
    assert len(cluster.given) == 1


def test_an_undo_whose_id_would_be_read_as_a_version_is_not_given() -> None:
    """The operator refuses it, since nothing is called `ada`, and a person believes that all is as before."""
    cluster = Fake()
    with pytest.raises(CommandError, match="--to"):
        said("undo", "flight-delay", "--id", "ada@example.com", cluster=cluster)
    assert cluster.given == []
    said("undo", "flight-delay", "--to", "flight-delay-3", "--id", "ada@example.com", cluster=cluster)
    said("abort", "flight-delay", "--id", "ada@example.com", cluster=cluster)
    assert [list(given.values()) for _, _, given in cluster.given] == [
        ["flight-delay-3@ada@example.com"],
        ["ada@example.com"],
    ]


def test_an_id_is_cut_to_what_the_operator_acknowledges() -> None:
    cluster = Fake()
    assert "abort acknowledged" in said("abort", "flight-delay", "--id", "x" * 300, cluster=cluster)
    assert [given["noria.dev/abort"] for _, _, given in cluster.given] == ["x" * 256]


def kubeconfig(folder: Path, **more: str) -> Path:
    """A file with one context, `x`, whose API server does not answer."""
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "prod"}}
    users = [{"name": "u", "user": {}}]
    file = folder / "config"
    file.write_text(json.dumps({"clusters": [cluster], "contexts": [context], "users": users, **more}))
    return file


def test_an_api_server_that_does_not_answer_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, **{"current-context": "x"})))
    with pytest.raises(SystemExit, match="does not answer"):
        main(["status"])


@pytest.mark.parametrize("more", [{}, {"current-context": ""}, {"current-context": "gone"}])
def test_a_context_that_is_named_needs_no_current_one(
    more: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, **more)))
    assert Cluster(None, "x").namespace == "prod"
    assert Cluster("test", "x").namespace == "test"
    for context in (None, "y"):
        with pytest.raises(CommandError, match="set KUBECONFIG or --context"):
            Cluster(None, context)


def test_without_a_kubeconfig_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(CommandError, match=r"no kubeconfig at .*none; set KUBECONFIG"):
        Cluster(None, None)


def test_names_and_kinds_that_do_not_exist_are_refused_with_advice() -> None:
    for name, advice in (
        ("nothing", "kubectl get noria"),
        ("pod/x", "tj"),
        ("mv/flight-delay", "kubectl get noria"),
    ):
        with pytest.raises(CommandError, match=advice):
            find(Fake(), name)
    with pytest.raises(CommandError, match="no ModelDeployment"):
        said("abort", "nightly")


@pytest.mark.processes
def test_what_two_commands_need_is_loaded_for_these_alone() -> None:
    """It takes longer than all that the others do."""
    loaded = "import sys, noria_operator.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)
    ours = {name.removeprefix("noria_operator.") for name in done.stdout.split() if "noria" in name}
    assert {"cli.main", "cli.text", "api.names"} <= ours
    assert not {name for name in ours if name.startswith(("domain.", "cli.report", "cli.simulate"))}


def test_it_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["noria_operator.cli", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("noria_operator.cli", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: kubectl noria ")
