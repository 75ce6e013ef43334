"""The dashboards as the files that Grafana reads.

In: what the modules build. Out: JSON, the same for the same code. Invariant: what the SDK
cannot say is added here (an annotation at the time that its value tells), nulls are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.monitoring.dashboards import drift, fleet, model, operator_process, quality, training

Json = dict[str, Any]
FOLDER: Final = Path(__file__).resolve().parents[3] / "charts" / "noria" / "files" / "dashboards"
DASHBOARDS: Final = {
    "fleet": fleet.build,
    "model": model.build,
    "drift": drift.build,
    "quality": quality.build,
    "training": training.build,
    "operator": operator_process.build,
}


def documents() -> dict[str, str]:
    """File name → its text."""
    return {f"{name}.json": _text(build().build()) for name, build in DASHBOARDS.items()}


def _text(built: Any) -> str:
    found: Json = json.loads(json.dumps(built, cls=JSONEncoder))
    for annotation in found["annotations"].setdefault("list", []):
        annotation |= {"useValueForTime": True, "titleFormat": annotation["name"]}
        annotation |= {"textFormat": "{{model}} {{version}}"}
        annotation["target"] = {"refId": "Anno", "expr": annotation.pop("expr")}
    for variable in found["templating"]["list"]:
        for name in ("auto", "auto_min", "auto_count"):  # of another type of variable
            variable.pop(name, None)
    for index, panel in enumerate(found["panels"], start=1):
        panel["id"] = index
    return json.dumps(_lean(found), indent=1, ensure_ascii=False) + "\n"


def _lean(value: Any) -> Any:
    if isinstance(value, dict):
        # The lowest threshold is the one at null.
        return {key: _lean(inner) for key, inner in value.items() if inner is not None or key == "value"}
    if isinstance(value, list):
        return [_lean(inner) for inner in value]
    return value
