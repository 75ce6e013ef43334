"""Mimir in one process: what a Prometheus writes to it, it tells to whoever names the tenant.

Goes out: where it answers. Its API stands under a prefix, and no question without a tenant is answered.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.scraping import Json
from tests.sockets import until_it_answers
from tools.cluster import binaries
from tools.cluster.layout import binary
from tools.ports import free_port

ALONE = {"instance_addr": "127.0.0.1", "kvstore": {"store": "inmemory"}}


@contextmanager
def mimir(folder: Path) -> Iterator[str]:
    """Its address, without the prefix of anything."""
    binaries.ensure("mimir")
    port = free_port()
    file = folder / "mimir.yaml"
    file.write_text(json.dumps(_config(folder, port)), encoding="utf-8")
    with subprocess.Popen(
        [str(binary("mimir")), f"-config.file={file}", "-target=all"], cwd=folder
    ) as process:
        try:
            until_it_answers(process, f"http://127.0.0.1:{port}/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def written_to(url: str, tenant: str) -> Json:
    """What a Prometheus says to write everything to a tenant, at once."""
    return {
        "url": f"{url}/api/v1/push",
        "headers": {"X-Scope-OrgID": tenant},
        "queue_config": {"batch_send_deadline": "100ms"},
    }


def _config(folder: Path, port: int) -> Json:
    return {
        "multitenancy_enabled": True,
        "usage_stats": {"enabled": False},
        "server": {
            "http_listen_address": "127.0.0.1",
            "http_listen_port": port,
            "grpc_listen_address": "127.0.0.1",
            "grpc_listen_port": free_port(),
            "log_level": "error",
        },
        "blocks_storage": {
            "backend": "filesystem",
            "filesystem": {"dir": f"{folder}/blocks"},
            "bucket_store": {"sync_dir": f"{folder}/sync"},
            "tsdb": {"dir": f"{folder}/tsdb"},
        },
        "ruler_storage": {"backend": "filesystem", "filesystem": {"dir": f"{folder}/rules"}},
        "compactor": {"data_dir": f"{folder}/compactor", "sharding_ring": ALONE},
        "distributor": {"ring": ALONE},
        "frontend": {"address": "127.0.0.1"},
        "query_scheduler": {"ring": ALONE},
        "ruler": {"ring": ALONE},
        "ingester": {"ring": {**ALONE, "replication_factor": 1, "min_ready_duration": "0s"}},
        "store_gateway": {"sharding_ring": {**ALONE, "replication_factor": 1}},
    }
