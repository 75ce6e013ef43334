from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.kube.api_server import LoopClock
from tests.unit.notifications.test_feed import _occurrence

from noria_operator.domain.notification_targets import Target
from noria_operator.notifications.sender import Sender

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    ("url", "key", "problem"),
    [
        (None, KEY, "cannot be read"),
        ("ftp://a", KEY, "no http"),
        ("http://a", "short", "signing key"),
        ("http://a", None, "cannot be read"),
    ],
)
async def test_files_that_are_missing_or_wrong_are_a_problem_that_is_told(
    tmp_path: Path, url: str | None, key: str | None, problem: str
) -> None:
    files = {"url": url, "key": key}
    for name, text in files.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    target = Target("a", url_file=tmp_path / "url", key_file=tmp_path / "key")
    answer = await Sender(LoopClock()).send(target, _occurrence("i"))
    assert problem in answer.problem
    assert not answer.refused
