"""Every location is opened with its own credentials, whatever others are in the pod."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from noria_serving import credentials
from noria_serving.errors import NoriaError, Reason
from noria_serving.objects import open_store


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Two Secrets as the kubelet mounts them: links into a directory whose name starts with `..`."""
    for name, key in (("lake", "AKLAKE"), ("models", "AKMODELS")):
        files = tmp_path / name / "..2026"
        files.mkdir(parents=True)
        (files / "AWS_ACCESS_KEY_ID").write_text(f"{key}\n")
        (files / "AWS_SECRET_ACCESS_KEY").write_text(f"secret of {name}")
        (files / "AWS_REGION").write_text("eu-central-1")
        (files / "AWS_ENDPOINT_URL").write_text(f"http://{name}.example:9000")
        (files / "AWS_ALLOW_HTTP").write_text("true")
        (files / "AWS_MAX_ATTEMPTS").write_text("3")  # of AWS's own tools, unknown to the client
        (files / "store.jks").write_bytes(b"\xfe\xed")
        (tmp_path / name / "..data").symlink_to("..2026")
        for file in files.iterdir():
            (tmp_path / name / file.name).symlink_to(f"..data/{file.name}")
    named = {
        "s3://bucket": str(tmp_path / "lake"),
        "s3://bucket/models": str(tmp_path / "models"),
    }
    return {"NORIA_CREDENTIALS": json.dumps(named)}


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://bucket/flights/day=1", "AKLAKE"),
        ("s3://bucket/", "AKLAKE"),
        ("s3://bucket/models", "AKMODELS"),
        ("s3://bucket/models/flights/1", "AKMODELS"),
        ("s3://bucket/models-of-others", "AKLAKE"),
    ],
)
def test_the_longest_location_that_holds_it_counts(uri: str, key: str, env: dict[str, str]) -> None:
    assert credentials.variables(uri, env=env)["AWS_ACCESS_KEY_ID"] == key


def test_a_location_that_is_not_named_has_none(env: dict[str, str]) -> None:
    assert credentials.variables("s3://bucket2/models", env=env) == {}
    assert credentials.variables("s3://bucket/models", env={}) == {}


def test_links_of_the_kubelet_and_what_is_no_text_are_no_variables(env: dict[str, str]) -> None:
    found = credentials.variables("s3://bucket/models", env=env)
    assert not [name for name in found if name.startswith("..")]
    assert "store.jks" not in found
    folder = credentials.directory("s3://bucket/models", env=env)
    assert folder is not None
    assert (folder / "store.jks").exists()


@pytest.mark.parametrize("text", ["[]", "{", '{"s3://bucket": 1}'])
def test_a_map_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(NoriaError, match="NORIA_CREDENTIALS") as refused:
        credentials.variables("s3://bucket", env={"NORIA_CREDENTIALS": text})
    assert refused.value.reason is Reason.CONFIGURATION


def test_a_directory_that_is_not_there_is_an_error_not_an_empty_answer(tmp_path: Path) -> None:
    env = {"NORIA_CREDENTIALS": json.dumps({"s3://bucket": str(tmp_path / "gone")})}
    with pytest.raises(NoriaError, match=r"the credentials of s3://bucket/x in .*gone cannot be read"):
        credentials.variables("s3://bucket/x", env=env)


def test_a_secret_that_is_empty_or_not_there_yet_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    env = {"NORIA_CREDENTIALS": json.dumps({"s3://bucket": str(tmp_path / "lake")})}
    with pytest.raises(NoriaError, match="check that Secret lake exists and has keys") as refused:
        credentials.variables("s3://bucket/x", env=env)
    assert refused.value.reason is Reason.STORAGE_UNAVAILABLE  # tried again: the kubelet may be late


def test_a_store_is_opened_with_the_credentials_of_its_location(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORIA_CREDENTIALS", env["NORIA_CREDENTIALS"])
    opened = {name: open_store(f"s3://bucket/{name}/1") for name in ("flights", "models")}
    assert {name: store.config["access_key_id"] for name, store in opened.items()} == {
        "flights": "AKLAKE",
        "models": "AKMODELS",
    }
    assert opened["models"].config["endpoint"] == "http://models.example:9000"
    assert opened["models"].client_options == {"allow_http": "true"}


@pytest.mark.parametrize(
    ("uri", "keys", "config"),
    [
        (
            "az://container/models",
            {"AZURE_STORAGE_ACCOUNT_NAME": "us", "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0", "AWS_REGION": "x"},
            {"account_name": "us", "account_key": "c2VjcmV0"},
        ),
        (
            "az://container/models",
            {"AZURE_STORAGE_ACCOUNT_NAME": "us", "AZURE_CLIENT_ID": "i", "AZURE_CLIENT_SECRET": "s",
             "AZURE_TENANT_ID": "t"},
            {"account_name": "us", "client_id": "i", "client_secret": "s", "tenant_id": "t"},
        ),
        ("gs://bucket/models", {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"a": 1}', "GOOGLE_X": "y"}, None),
    ],
)  # fmt: skip
def test_other_stores_are_opened_with_the_keys_of_their_secret(
    uri: str,
    keys: dict[str, str],
    config: dict[str, str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in keys.items():
        (tmp_path / name).write_text(value)
    monkeypatch.setenv("NORIA_CREDENTIALS", json.dumps({uri: str(tmp_path)}))
    if config is None:  # the key is read when the store is opened, and this one is no key
        with pytest.raises(NoriaError) as caught:
            open_store(uri)
        assert caught.value.reason is Reason.CONFIGURATION
        return
    opened = open_store(uri)
    assert opened.prefix == "models"
    assert config.items() <= {str(key).removeprefix("azure_storage_").removeprefix("azure_"): value
                              for key, value in opened.config.items()}.items()  # fmt: skip
