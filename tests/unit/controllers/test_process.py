"""Who is woken by what a pass writes, in the operator as it is put together."""

from __future__ import annotations

from typing import Any

from tests.unit.controllers.test_wakeup import CONTROLLERS, NORIA, labels, reconciling
from tests.unit.kube.api_server import Scripted, obj, refusal

from noria_operator import app
from noria_operator.controllers.context import Config
from noria_operator.controllers.worker import PASSING
from noria_operator.evidence.fetch import Fetcher
from noria_operator.kube.kinds import MODELDEPLOYMENT, Json, Key
from noria_operator.kube.login import Endpoint
from noria_operator.process import Operator, Parts

KEY = Key(MODELDEPLOYMENT, "ns", "md")


def child(version: int, **rest: Any) -> Json:
    return obj("w", version=version, labels=labels("ModelDeployment", "md", "uid-md"), **rest)


def newer(made: Json, version: int) -> Json:
    return {**made, "metadata": {**made["metadata"], "resourceVersion": str(version)}}


async def test_a_pass_does_not_come_again_for_what_it_wrote_but_for_what_others_do() -> None:
    client = Scripted(lambda _: refusal(500))
    parts = Parts(Config("ns"), Endpoint("http://none"), client, CONTROLLERS, app.context(Fetcher()))
    operator = Operator(parts)
    store, queue = operator.store, operator.queue
    store.observe("ADDED", obj("md", api=(NORIA, "ModelDeployment")))
    assert await queue.get() == KEY
    passing = PASSING.set(KEY)
    store.observe("ADDED", child(2))
    store.observe("MODIFIED", newer(reconciling("False"), 3))
    queue.done(KEY)
    assert len(queue) == 0
    store.observe("MODIFIED", newer(reconciling("True"), 4))
    assert await queue.get() == KEY, "a weight is on its way"
    queue.done(KEY)
    PASSING.reset(passing)
    store.observe("MODIFIED", child(5, spec={"replicas": 9}))
    assert len(queue) == 1
