"""What a store's client says becomes one sentence that says what to do and gives nothing away."""

from __future__ import annotations

import pytest

from noria_serving.objects import cause

HTTP = "Generic S3 error: Error performing list request: Server returned non-2xx status code: "


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            f"{HTTP}403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>Check it.</Message>"
            "<AWSAccessKeyId>AKIA</AWSAccessKeyId><StringToSign>AWS4</StringToSign></Error>",
            "the store refused the credentials, check the keys of the Secret in secretName "
            "(SignatureDoesNotMatch: Check it.)",
        ),
        (
            f"{HTTP}404 Not Found: <Error><Code>XAdminUserNotFound</Code><Message>No user.</Message></Error>",
            "the store refused the credentials, check the keys of the Secret in secretName "
            "(XAdminUserNotFound: No user.)",
        ),
        (
            f"{HTTP}404 Not Found: <Error><Code>NoSuchBucket</Code><Message>Not there.</Message></Error>",
            "the bucket does not exist, create it or correct the uri (NoSuchBucket: Not there.)",
        ),
        (f"{HTTP}503: <Error><Code>SlowDown</Code></Error>", "SlowDown"),
        ("error sending request\n\nDebug source:\nGeneric { … }", "error sending request"),
    ],
)
def test_the_cause_is_one_sentence(said: str, advice: str) -> None:
    assert cause(RuntimeError(said)) == advice
