from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from noria_operator.controllers.context import Config, ConfigError


def test_the_environment_of_the_chart_is_understood() -> None:
    config = Config.from_env(
        {
            "NORIA_NAMESPACE": "noria",
            "NORIA_LEASE": "team-a-noria-operator",
            "NORIA_WATCH_NAMESPACES": "a, b,",
            "NORIA_HTTP_PORT": "9090",
            "NORIA_ROUTER_MAX_BODY_BYTES": "1000",
            "NORIA_EVIDENCE_INTERVAL": "500ms",
            "NORIA_COUNTERS_INTERVAL": "1m",
            "NORIA_ALLOW_CODE_NAMESPACES": "lab",
            "NORIA_PRIVATE_HOSTS": "mirror,10.0.0.0/8",
            "NORIA_TRUSTED_KEYS": "PEM",
            "NORIA_SIGNED_NAMESPACES": "prod",
        }
    )
    assert config.watch_namespaces == ("a", "b")
    assert config.lease == "team-a-noria-operator"
    assert config.http_port == 9090
    assert config.xds_port == 18000
    assert config.router_max_body == 1000
    assert config.evidence_interval == timedelta(milliseconds=500)
    assert config.counters_interval == timedelta(minutes=1)
    assert config.allow_code_namespaces == {"lab"}
    told = {"NORIA_PRIVATE_HOSTS": "mirror,10.0.0.0/8", "NORIA_TRUSTED_KEYS": "PEM"}
    assert config.fetching("lab") == told | {"NORIA_REQUIRE_SIGNATURE": "0"}
    assert config.fetching("prod") == told | {"NORIA_REQUIRE_SIGNATURE": "1"}


def test_signatures_may_be_required_everywhere_but_not_without_a_key() -> None:
    everywhere = {"NORIA_NAMESPACE": "noria", "NORIA_SIGNED_NAMESPACES": "*"}
    config = Config.from_env({**everywhere, "NORIA_TRUSTED_KEYS": "PEM"})
    assert config.fetching("any")["NORIA_REQUIRE_SIGNATURE"] == "1"
    with pytest.raises(ConfigError, match="NORIA_TRUSTED_KEYS is not"):
        Config.from_env(everywhere)


@pytest.mark.parametrize(
    ("addresses", "listens"),
    [("10.0.0.7", "0.0.0.0"), ("fd00::7", "::"), ("10.0.0.7,fd00::7", "::"), ("", "0.0.0.0")],
)
def test_routers_listen_on_ipv6_where_the_operator_has_such_an_address(addresses: str, listens: str) -> None:
    config = Config.from_env({"NORIA_NAMESPACE": "noria", "NORIA_POD_IPS": addresses})
    assert config.router_address == listens


def test_no_list_of_namespaces_means_all_of_them() -> None:
    assert Config.from_env({"NORIA_NAMESPACE": "noria"}).watch_namespaces == ()


def test_pods_are_told_that_nothing_is_set_so_that_no_config_map_says_another() -> None:
    told = {"NORIA_PRIVATE_HOSTS": "", "NORIA_TRUSTED_KEYS": "", "NORIA_REQUIRE_SIGNATURE": "0"}
    assert Config.from_env({"NORIA_NAMESPACE": "noria"}).fetching("any") == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NORIA_NAMESPACE", ""),
        ("NORIA_HTTP_PORT", "http"),
        ("NORIA_XDS_PORT", "70000"),
        ("NORIA_NOTIFICATIONS", '[{"name": "ops"}]'),
        ("NORIA_QUERY_TEMPLATES", '[{"name": "up"}]'),
        ("NORIA_QUERY_TEMPLATES", '[{"name": "up", "query": "up", "source": "gone"}]'),
        ("NORIA_METRIC_SOURCES", '[{"name": "p"}]'),
        ("NORIA_COUNTS_FROM", "gone"),
        ("NORIA_GATEWAY_PROBES", '[{"name": "p"}]'),
        ("NORIA_GATEWAY_PROBES", '[{"name": "p", "gateway": "a/b", "urls": ["http://c"]}]'),
        ("NORIA_ROUTER_MAX_BODY_BYTES", "16Mi"),
        ("NORIA_EVIDENCE_INTERVAL", "soon"),
        ("NORIA_EVIDENCE_INTERVAL", "s"),
        ("NORIA_COUNTERS_INTERVAL", "15"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Config.from_env({"NORIA_NAMESPACE": "noria", name: value})


def test_a_master_key_must_be_there_and_long_enough(tmp_path: Path) -> None:
    config = Config("noria", master_key_file=tmp_path / "key")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.master_key()
    (tmp_path / "key").write_text("short")
    with pytest.raises(ConfigError, match="less than 32 bytes"):
        config.master_key()
    (tmp_path / "key").write_text("k" * 44 + "\n")
    assert config.master_key() == b"k" * 44


def test_a_master_key_is_read_again_only_when_its_file_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    config = Config("noria", master_key_file=file)
    file.write_text("a" * 40)
    assert config.master_key() == b"a" * 40
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read again"))
        assert config.master_key() == b"a" * 40
    (tmp_path / "next").write_text("b" * 40)
    (tmp_path / "next").replace(file)  # as the kubelet does it: another file under the same name
    assert config.master_key() == b"b" * 40
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        config.master_key()


def test_a_master_key_that_was_too_short_is_taken_once_it_is_long_enough(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("short")
    config = Config("noria", master_key_file=file)
    for _ in range(2):
        with pytest.raises(ConfigError, match="less than 32 bytes"):
            config.master_key()
    file.write_text("c" * 40)
    assert config.master_key() == b"c" * 40
