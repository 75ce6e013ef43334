from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from tests.unit.kube.api_server import Scripted, namespace_terminating, obj, refusal

from noria_operator.kube import errors
from noria_operator.kube.client import TRIES, Answer
from noria_operator.kube.kinds import DEPLOYMENT, LEASE, SERVICE, Json
from noria_operator.kube.requests import Request


def in_turn(*answers: Answer | Exception) -> Scripted:
    rest = iter(answers)

    def respond(_: Request) -> Answer:
        answer = next(rest)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Scripted(respond)


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "BadRequest", errors.Invalid),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
    ],
)
async def test_a_refusal_that_will_stay_is_raised_at_once(
    status: int, reason: str, error: type[errors.ApiError]
) -> None:
    client = in_turn(refusal(status, reason))
    with pytest.raises(error) as raised:
        await client.get(SERVICE, "ns", "a")
    assert (raised.value.status, raised.value.reason, raised.value.message) == (status, reason, "no")
    assert len(client.sent) == 1


@pytest.mark.parametrize("body", ["<html>please log in</html>", None, [], "3"])
async def test_what_a_proxy_says_in_the_api_servers_place_is_no_answer(body: object) -> None:
    """A page with 200 ended the list that it met, and with it the operator."""
    client = in_turn(Answer(200, body), Answer(200, {"items": [obj()], "metadata": {"resourceVersion": "7"}}))
    assert (await client.listing(DEPLOYMENT)).position == 7
    client = in_turn(*itertools.repeat(Answer(200, body), TRIES))
    with pytest.raises(errors.Unavailable, match="no JSON object"):
        await client.listing(DEPLOYMENT)


async def test_a_namespace_that_is_being_deleted_is_no_missing_right() -> None:
    client = in_turn(namespace_terminating())
    with pytest.raises(errors.NamespaceTerminating) as raised:
        await client.create(SERVICE, "ns", {"metadata": {"name": "a"}})
    assert not isinstance(raised.value, errors.Forbidden)
    assert raised.value.status == 403
    assert len(client.sent) == 1


@pytest.mark.parametrize("causes", [None, [], [{"reason": "FieldValueInvalid"}], "none", ["text"]])
async def test_every_other_403_is_a_missing_right(causes: object) -> None:
    answer = refusal(403, "Forbidden")
    answer.body["details"] = {"causes": causes}
    with pytest.raises(errors.Forbidden):
        await in_turn(answer).get(SERVICE, "ns", "a")


@pytest.mark.parametrize(
    "passing",
    [refusal(429), refusal(500), refusal(503), errors.Unavailable(0, "Reset", "connection lost")],
)
async def test_what_passes_is_tried_again(passing: Answer | Exception) -> None:
    client = in_turn(passing, passing, Answer(200, obj()))
    assert await client.get(SERVICE, "ns", "a") == obj()
    assert len(client.sent) == 3


@pytest.mark.parametrize(
    ("status", "error"), [(429, errors.TooManyRequests), (503, errors.ServerError), (500, errors.ServerError)]
)
async def test_tries_are_bounded(status: int, error: type[errors.ApiError]) -> None:
    client = in_turn(*itertools.repeat(refusal(status), 50))
    with pytest.raises(error):
        await client.get(SERVICE, "ns", "a")
    assert len(client.sent) == TRIES
    assert asyncio.get_running_loop().time() < 5


async def test_the_servers_own_retry_after_is_kept() -> None:
    client = in_turn(refusal(429, retry_after=3.0), Answer(200, obj()))
    await client.get(SERVICE, "ns", "a")
    waited = client.sent[1][0] - client.sent[0][0]
    assert 3.0 <= waited < 3.3


async def test_an_expired_token_is_read_again_once() -> None:
    client = in_turn(refusal(401), Answer(200, obj()))
    assert await client.get(SERVICE, "ns", "a") == obj()
    client = in_turn(refusal(401), refusal(401))
    with pytest.raises(errors.Unauthorized):
        await client.get(SERVICE, "ns", "a")


async def test_a_delete_of_what_is_gone_is_a_success() -> None:
    assert await in_turn(refusal(404, "NotFound")).delete(SERVICE, "ns", "a") is None


async def test_a_delete_names_the_uid_that_it_means() -> None:
    client = in_turn(Answer(200, {"kind": "Status"}))
    await client.delete(SERVICE, "ns", "a", uid="u1")
    body = client.sent[0][1].body
    assert body is not None
    assert body["preconditions"] == {"uid": "u1"}
    assert body["propagationPolicy"] == "Background"


def page(*names: str, token: str = "") -> Answer:
    items = [{"metadata": {"name": name}} for name in names]
    return Answer(200, {"metadata": {"continue": token}, "items": items})


async def test_a_list_is_read_to_its_last_page() -> None:
    client = in_turn(page("a", "b", token="t1"), page("c"))
    found = await client.list(DEPLOYMENT, "ns", labels={"x": "1", "a": "2"})
    assert [one["metadata"]["name"] for one in found] == ["a", "b", "c"]
    assert found[0]["apiVersion"] == "apps/v1"
    assert found[0]["kind"] == "Deployment"
    first, second = (request.params for _, request in client.sent)
    assert first["labelSelector"] == "a=2,x=1"
    assert second["continue"] == "t1"


async def test_whether_a_kind_is_served_is_asked_without_reading_all_of_it() -> None:
    client = Scripted(lambda request: Answer(200, {"items": [], "metadata": {"continue": "more"}}))
    await client.served(DEPLOYMENT)
    assert [request.params for _, request in client.sent] == [{"limit": "1"}]
    client.respond = lambda request: refusal(404)
    with pytest.raises(errors.NotFound):
        await client.served(DEPLOYMENT)


async def test_a_list_that_expires_starts_again_and_is_never_cut_short() -> None:
    client = in_turn(page("a", token="t1"), refusal(410, "Expired"), page("a"))
    assert len(await client.list(DEPLOYMENT)) == 1
    client = in_turn(*itertools.islice(itertools.cycle([page("a", token="t"), refusal(410)]), 6))
    with pytest.raises(errors.Unavailable):
        await client.list(DEPLOYMENT)


async def test_writes_are_fenced_and_reads_and_the_lease_are_not() -> None:
    class Fenced(Exception):
        pass

    def check() -> None:
        raise Fenced

    client = in_turn(*itertools.repeat(Answer(200, obj()), 9))
    client.fence(check)
    body: Json = {"metadata": {"name": "a"}}
    for write in (
        client.create(SERVICE, "ns", body),
        client.apply(SERVICE, "ns", body),
        client.apply_status(SERVICE, "ns", "a", {}),
        client.delete(SERVICE, "ns", "a"),
    ):
        with pytest.raises(Fenced):
            await write
    assert client.sent == []
    await client.get(SERVICE, "ns", "a")
    await client.update(LEASE, "ns", body)
    assert client.verbs == ["get", "update"]


def test_the_delays_of_many_clients_do_not_coincide() -> None:
    clients = [in_turn() for _ in range(20)]
    for seed, client in enumerate(clients):
        client._random = random.Random(seed)
    assert len({client._delay(3, None) for client in clients}) == 20
