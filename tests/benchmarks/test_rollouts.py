"""How rollouts are followed and shown; what they take is measured elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from benchmarks.rollouts.__main__ import USUAL
from benchmarks.rollouts.argo import ROLLOUT, Access, analysis_template, objects
from benchmarks.rollouts.contender import ANALYSIS, ERRORS, Figures, keys_of, until_all
from benchmarks.rollouts.noria import query_template
from benchmarks.rollouts.page import BEGIN, END, record
from benchmarks.rollouts.pods import template
from benchmarks.rollouts.samples import Prometheus
from benchmarks.rollouts.watching import Watched, watching

from noria_operator.domain.query_templates import templates_of
from noria_operator.kube import kinds

Json = dict[str, Any]


def event(name: str, phase: str, type_: str = "MODIFIED") -> Json:
    return {
        "type": type_,
        "object": {"metadata": {"namespace": "a", "name": name}, "status": {"phase": phase}},
    }


def healthy(obj: Json) -> bool:
    return bool(obj["status"]["phase"] == "Healthy")


async def test_all_are_there_when_each_was_seen_once_whatever_became_of_it() -> None:
    watched = Watched()
    watched.take(event("one", "Healthy"))
    waiting = asyncio.create_task(watched.until(healthy, 2, seconds=5))
    await asyncio.sleep(0)
    watched.take(event("two", "Pending"))
    watched.take(event("one", "Degraded"))
    await asyncio.sleep(0)
    assert not waiting.done()
    watched.take(event("two", "Healthy"))
    assert len(await waiting) == 2


async def test_what_never_comes_is_said_with_its_number() -> None:
    watched = Watched()
    watched.take(event("one", "Healthy"))
    with pytest.raises(TimeoutError, match="1 of 2"):
        await watched.until(healthy, 2, seconds=0.01)


async def test_a_kind_that_was_just_installed_is_asked_for_again(tmp_path: Path) -> None:
    first = iter([web.json_response({"kind": "Status", "reason": "TooManyRequests"}, status=429)])

    async def answer(_: web.Request) -> web.Response:
        return next(first, web.Response(text=f"{json.dumps(event('one', 'Healthy'))}\n"))

    async with api_server(answer, tmp_path) as kubeconfig, watching(kubeconfig, kinds.DEPLOYMENT) as watched:
        assert len(await watched.until(healthy, 1, seconds=5)) == 1


async def test_a_watch_that_is_broken_off_begins_again(tmp_path: Path) -> None:
    broken = {"type": "ERROR", "object": {"kind": "Status", "metadata": {}, "code": 410}}
    first = iter([web.Response(text=f"{json.dumps(broken)}\n")])

    async def answer(_: web.Request) -> web.Response:
        return next(first, web.Response(text=f"{json.dumps(event('one', 'Healthy'))}\n"))

    async with api_server(answer, tmp_path) as kubeconfig, watching(kubeconfig, kinds.DEPLOYMENT) as watched:
        assert len(await watched.until(healthy, 1, seconds=5)) == 1


async def test_a_watch_that_is_refused_ends_what_waits_for_it(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=403, text="{}")

    async with asyncio.timeout(5), api_server(answer, tmp_path) as kubeconfig:
        with pytest.raises(ExceptionGroup):
            async with watching(kubeconfig, kinds.DEPLOYMENT) as watched:
                await watched.until(healthy, 1, seconds=60)


async def test_a_create_that_fails_ends_the_wait_for_all() -> None:
    async def refused() -> None:
        raise ConnectionError

    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(5):
            await until_all(Watched(), [refused], healthy)


@asynccontextmanager
async def api_server(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], folder: Path
) -> AsyncIterator[Path]:
    """One that answers like this; gives its kubeconfig."""
    app = web.Application()
    app.router.add_get("/apis/apps/v1/deployments", answer)
    async with TestServer(app) as server:
        config = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {"server": str(server.make_url("/"))}}],
            "users": [{"name": "it", "user": {}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        yield path


def test_a_hundred_rollouts_share_a_namespace() -> None:
    assert len({space for space, _ in keys_of(250)}) == 3
    assert len(set(keys_of(250))) == 250


def test_a_new_figure_takes_the_place_of_the_old_one_of_its_contender(tmp_path: Path) -> None:
    (tmp_path / "rollouts-figures.json").write_text('[{"contender": "Argo Rollouts", "rollouts": 100}]')
    (tmp_path / "rollouts.md").write_text(f"Before.\n{BEGIN}old{END}After.\n")
    fields = [name for name in Figures.__dataclass_fields__ if name not in ("contender", "rollouts")]
    for contender, value in (("Noria", 1.0), ("Argo Rollouts", 2.0), ("Noria", 3.0)):
        record(tmp_path, Figures(contender=contender, rollouts=100, **dict.fromkeys(fields, value)))
    found = json.loads((tmp_path / "rollouts-figures.json").read_text())
    assert [(one["contender"], one["healthy"]) for one in found] == [("Noria", 3.0), ("Argo Rollouts", 2.0)]
    row = "| until all are healthy, s | 3.0 | 2.0 |"
    assert row in (tmp_path / "rollouts-figures.md").read_text()
    explained = (tmp_path / "rollouts.md").read_text()
    assert row in explained
    assert (explained[:8], explained[-7:], "old" in explained) == ("Before.\n", "After.\n", False)


def test_pods_of_two_versions_are_those_of_the_model_server_and_differ() -> None:
    first, second = (template("team-0", "model-7", number) for number in (1, 2))
    assert first != second
    assert {"readinessProbe", "securityContext", "volumeMounts"} <= first["spec"]["containers"][0].keys()


@pytest.mark.parametrize(
    ("access", "named"),
    [
        (Access.SERVICE, ["model-1"]),
        (Access.INGRESS, ["model-1-stable", "model-1-canary"]),
        (Access.NONE, []),
    ],
)
def test_rollouts_of_the_peer_are_called_by_the_services_that_its_users_write(
    access: Access, named: list[str]
) -> None:
    written = objects(("team-0", "model-1"), access)
    services = {body["metadata"]["name"]: body["spec"] for kind, body in written if kind == kinds.SERVICE}
    rollout = next(body["spec"] for kind, body in written if kind == ROLLOUT)
    assert list(services) == named
    for service in services.values():
        assert service["selector"].items() <= rollout["template"]["metadata"]["labels"].items()
        ports = rollout["template"]["spec"]["containers"][0]["ports"]
        assert service["ports"][0]["targetPort"] in {port["name"] for port in ports}


def test_who_runs_all_compares_with_rollouts_that_can_be_called() -> None:
    assert "argo-tuned" in USUAL
    assert "argo-uncalled" not in USUAL


async def test_a_source_turns_bad_for_one_rollout_and_keeps_when_it_said_so_first() -> None:
    source = Prometheus()
    async with source.listening() as address, aiohttp.ClientSession() as session:

        async def errors(name: str) -> str:
            form = {"query": ERRORS.format(name)}
            async with session.post(f"{address}/api/v1/query", data=form) as answer:
                return str((await answer.json())["data"]["result"][0]["value"][1])

        assert [await errors("team-0/a"), await errors("team-0/b")] == ["0", "0"]
        source.bad.add("team-0/a")
        assert source.told == {}
        assert [await errors("team-0/a"), await errors("team-0/b")] == ["1", "0"]
        first = dict(source.told)
        await errors("team-0/a")
    assert list(first) == ["team-0/a"]
    assert source.told == first
    assert source.asked == {"team-0/a", "team-0/b"}


def test_both_are_judged_by_the_same_question_and_bound() -> None:
    asked = analysis_template("http://source")["spec"]["metrics"][0]
    ours = query_template("http://source")
    question = asked["provider"]["prometheus"]["query"].replace("{{args.rollout}}", "a/b")
    assert question == ours["query"].replace("{{namespace}}/{{deployment}}", "a/b") == 'errors{rollout="a/b"}'
    assert templates_of(json.dumps([ours]), {})[ANALYSIS].source.address == "http://source"
    (kind, body) = objects(("a", "b"), Access.NONE, judged=True)[0]
    judged = body["spec"]["strategy"]["canary"]["analysis"]
    assert kind == ROLLOUT
    assert judged == {
        "templates": [{"templateName": ANALYSIS}],
        "args": [{"name": "rollout", "value": "a/b"}],
    }
