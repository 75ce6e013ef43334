"""What the parts of a local cluster are started with."""

from __future__ import annotations

from pathlib import Path

from tools.cluster.components import Endpoints, api_server, auditing

AT = Endpoints("127.0.0.1", "127.0.0.1", 1, 2, 3, "10.96.0.0/16", "10.244.0.0/16")


def test_requests_of_all_accounts_are_treated_alike_where_nobody_asks_for_an_audit() -> None:
    argv = api_server(Path("c"), Path("c/pki"), AT, authorization="Node,RBAC").argv
    assert not [each for each in argv if each.startswith("--audit")]


def test_an_audit_is_written_where_it_is_asked_for() -> None:
    audit = auditing(Path("c"))
    argv = api_server(Path("c"), Path("c/pki"), AT, authorization="Node,RBAC", audit=audit).argv
    assert "--audit-log-path=c/log/audit.log" in argv
