from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from noria_operator.kube.login import LoginError, Token, from_kubeconfig, in_cluster, login


def kubeconfig(folder: Path, **user: object) -> Path:
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1/"}}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_kubeconfig_with_a_token(tmp_path: Path) -> None:
    endpoint = from_kubeconfig(kubeconfig(tmp_path, token="secret"))
    assert endpoint.server == "http://127.0.0.1:1"
    assert endpoint.namespace == "team"
    assert endpoint.headers() == {"Authorization": "Bearer secret"}


def test_a_kubeconfig_without_credentials_sends_none(tmp_path: Path) -> None:
    assert from_kubeconfig(kubeconfig(tmp_path)).headers() == {}


def test_a_kubeconfig_with_a_plugin_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(LoginError, match="kubectl create token"):
        from_kubeconfig(kubeconfig(tmp_path, exec={"command": "aws"}))


def test_a_missing_kubeconfig_and_a_missing_context_are_named(tmp_path: Path) -> None:
    with pytest.raises(LoginError, match="no kubeconfig at"):
        from_kubeconfig(tmp_path / "nothing")
    path = kubeconfig(tmp_path)
    path.write_text(path.read_text().replace("current-context: here", "current-context: there"))
    with pytest.raises(LoginError, match="no context 'there'"):
        from_kubeconfig(path)


def test_the_environment_decides_where_credentials_come_from(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, token="t")
    assert login({"KUBECONFIG": str(path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}).namespace == "team"


def test_a_pod_without_a_token_is_told_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(LoginError, match="automountServiceAccountToken"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


def test_a_token_file_is_read_again_after_a_minute_and_after_a_refusal(tmp_path: Path) -> None:
    file, now = tmp_path / "token", [0.0]
    file.write_text("first\n")
    token = Token(file=file, monotonic=lambda: now[0])
    assert token() == "first"
    file.write_text("second\n")
    assert token() == "first"
    now[0] = 61
    assert token() == "second"
    file.write_text("third\n")
    token.expire()
    assert token() == "third"
