"""What is remembered of one pod."""

from __future__ import annotations

from noria_operator.evidence.heard import AROUND, Heard, Reading
from noria_operator.evidence.windows import Document


def document(process: str) -> Document:
    return Document(process, "m-1", started=0.0, origin=0.0, at=0.0, counts={})


def test_the_last_two_answers_are_kept_and_found_by_when_they_came() -> None:
    heard, one, two, three = Heard(), *map(document, "abc")
    assert (heard.since(0), heard.when_ended(1000.0)) == (None, None)
    for at, found in ((10.0, one), (25.0, two), (27.0, three)):
        heard.said(Reading(at, 1000 + at, found))
    assert (heard.since(26.5), heard.since(27.0)) == (three, None)
    assert [heard.when_ended(1000 + at) for at in (10, 25, 26.9, 27, 27 + AROUND, 24)] == [
        None, two, two, three, None, None,
    ]  # fmt: skip


def test_a_pod_is_told_once_of_each_beginning() -> None:
    heard = Heard()
    assert heard.query() == ""
    for origin in (30.5, 20.0, 30.5):
        heard.origins.add(origin)
    assert (heard.query(), heard.query()) == ("?keep=20.0,30.5", "")
