"""Objects that show what each rule accepts and refuses.

The unit tests hold the models to them, the integration tests a real API server: both must answer the same.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from tests.unit.api.objects import BASES, SHA, TRAINING

Json = dict[str, Any]
ABSENT = object()


@dataclass(frozen=True)
class Case:
    """A base with some paths set. `message` is what a refusal says; empty means that it is accepted."""

    base: str
    changes: tuple[tuple[str, Any], ...]
    message: str = ""

    def object(self) -> Json:
        """The object itself."""
        return with_changes(BASES[self.base], dict(self.changes))

    def __str__(self) -> str:
        changes = ",".join(
            f"{path}={'absent' if value is ABSENT else value!r:.40}" for path, value in self.changes
        )
        return f"{self.base}:{changes}"


def with_changes(base: Json, changes: Json) -> Json:
    """A copy of `base` with each dotted path set (`spec.gates.0.min`), or removed when ABSENT."""
    result = copy.deepcopy(base)
    for path, value in changes.items():
        *way, last = path.split(".")
        place: Any = result
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if value is ABSENT:
            del place[last]
        elif isinstance(place, list):
            place[int(last)] = copy.deepcopy(value)
        else:
            place[last] = copy.deepcopy(value)
    return result


def no(base: str, message: str, **changes: Any) -> Case:
    """A case that is refused with `message`; `__` in a keyword stands for a dot below spec."""
    return Case(base, _paths(changes), message)


SERVICE: Json = {"type": "Service"}
_TRITON = {"runtime": "custom", "image": "a", "port": 8000, "grpcPort": 8001}
COPIES: list[Json] = [{"mirror": 100, "duration": "1m"}]
X_A: list[Json] = [{"name": "x-a", "value": "b"}]


def experiment(*arms: Json, duration: str | None = "1h", **more: Any) -> Json:
    """An experiment of two versions, or of as many as there are arms."""
    found = arms or ({"weight": 20}, {"weight": 20})
    versions = [{"version": f"flight-delay-{number}", **arm} for number, arm in enumerate(found, 4)]
    return {"arms": versions, **({"duration": duration} if duration else {}), **more}


JWT: Json = {"issuer": "https://a.example", "audiences": ["m"], "jwks": {"uri": "https://a.example/jwks"}}
_REFUSED_ISSUERS = (
    "https://169.254.169.254/latest",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://[fd00:ec2::254]/",
    "https://user:pw@a.example/",
    "file:///etc/passwd",
    "https://a.example",
    "https://a.example/a b",
    "https://a.example:84433/",
    "https://a.example:65536/",
    "https://a.example:443443/",
)


def _issued(jwks: Json) -> Json:
    return {"access": {"jwt": {**JWT, "jwks": jwks}}}


def gateway(**fields: str) -> Json:
    """A router that is a gateway."""
    return {"type": "Gateway", "gateway": fields}


def yes(base: str, **changes: Any) -> Case:
    """A case that is accepted."""
    return Case(base, _paths(changes))


def _paths(changes: Json) -> tuple[tuple[str, Any], ...]:
    return tuple(
        ("metadata.name" if key == "name" else "spec." + key.replace("__", "."), value)
        for key, value in changes.items()
    )


OLD: Json = {"name": "old", "maxAge": "720h", "action": "Observe"}
MANY: Json = {"name": "many", "newSamples": {"count": 10_000}, "action": "Warn"}
ANY_OF_BOTH: Json = {"name": "any", "combine": {"of": ["old", "many"], "atLeast": 1}}
FRESH: Json = {
    "name": "fresh",
    "dataChange": {"data": "holdout", "every": "15m", "settle": "0s", "dvcFile": "flights.dvc"},
}
DEAR: Json = {
    "name": "dear",
    "performance": {"metric": "auc", "cost": {"pointDay": "12.5", "run": "40"}},
    "action": "Block",
}


def _fraud(*, predicted: str, cost: str = "40") -> Json:
    return {"label": "fraud", "predicted": predicted, "cost": cost}


def _costs(**matrix: Any) -> list[Json]:
    performance = {"metric": "expectedCost", "max": "0.4", "costMatrix": matrix}
    return [{"name": "costs", "performance": performance}]


POD = {
    name: TRAINING["spec"][name] for name in ("env", "envFrom", "resources", "nodeSelector", "tolerations")
}
"""Fields with rules that a serving pod has too."""
TEMPLATE = {name: value for name, value in TRAINING["spec"].items() if name != "suspend"}

ACCEPTED = [
    *(Case(base, ()) for base in BASES),
    yes("tj", evaluation=ABSENT, gates=[]),
    yes("tj", dataQuality={"data": "train", "timeColumn": "at", "maxAge": "48h", "maxDuplicates": "1.0"}),
    yes(
        "ct",
        template__spec__dataQuality={"data": "holdout", "timeColumn": "at", "maxAge": "2h", "maxSkew": "0.2"},
    ),
    yes("tj", evaluation__image="registry.example/team/server:1"),
    yes("tj", evaluation=ABSENT, gates=ABSENT, data=ABSENT),
    yes("tj", deployment=ABSENT, gates=[{"metric": "auc", "min": "-1"}]),
    yes("tj", slices=[{"feature": "carrier"}, {"feature": "age", "bounds": ["40", "-2.5"]}]),
    yes("tj", slices=[], gates=[{"metric": "ece", "max": "0.1", "bySlice": False}]),
    yes("tj", output__uri="pvc://models"),
    yes("tj", output__uri="s3://bucket.name/a=b/c_d,e@f~g+h-1.0/"),
    yes("tj", output__uri="gs://bucket_1/models"),
    yes("tj", data__0__uri="az://container/rows/"),
    yes("mv", artifact__uri="gs://models/flight-delay/4"),
    yes("mv", artifact__uri="az://models/flight-delay/4"),
    yes("mv", artifact__uri="https://models.example.com/flight-delay/4"),
    yes("mv", artifact__uri="https://mirror:8443/flight-delay-4.tar.gz"),
    yes("mv", artifact__uri="oci://ghcr.io/team/flight-delay:v4"),
    yes("mv", artifact__uri=f"oci://registry:5000/team/flight-delay@{SHA}"),
    yes("tj", deadlines__active="1ms"),
    yes("tj", seed=None, params={"a": None}, data__0__digest=None),
    yes("tj", tolerations=[{"key": "a", "value": ""}]),
    yes("tj", resources__requests={"cpu": 0, "memory": ".5Gi", "example.com/x": "1e3"}),
    yes("mv", name="flight-delay-10", version=10),
    yes("mv", model="a-1", name="a-1-2", version=2),
    yes("md", server=ABSENT),
    yes("md", server={"payloadLog": {"uri": "pvc://log"}}),
    yes("md", server={"warmUp": {"rows": [1, 64], "calls": 10}}),
    yes(
        "md",
        server={
            "payloadLog": {
                "uri": "s3://lake/log",
                "secretName": "lake",
                "sample": "0.01",
                "redact": ["name"],
                "every": "5m",
            }
        },
    ),
    yes(
        "md", server={"runtime": "noria", "image": "mirror/server:1", "port": 8080, "command": [], "args": []}
    ),
    yes("md", follow=ABSENT, version="flight-delay-3"),
    yes("md", strategy__steps=[]),
    yes(
        "md", strategy__steps=[{"pause": True}, {"weight": 1}, {"weight": 2, "pause": False}, {"weight": 99}]
    ),
    yes("md", strategy__retry={}),
    yes("md", strategy__retry={"limit": 10, "delay": "1s"}),
    yes("md", strategy__steps=[{"weight": 0}, {"weight": 10, "pause": True}, {"analysis": {}}]),
    yes("md", strategy__steps=[{"replicas": "100%", "pause": True}, {"minRequests": 9}, {"replicas": 3}]),
    yes("md", strategy__steps=[{"mirror": 100, "duration": "2m"}, {"weight": 0, "mirror": 1}, {"weight": 5}]),
    yes("md", strategy__steps=[{"match": [{"name": "x-User_1", "value": "a b"}]}, {"match": []}]),
    yes("md", strategy__steps=[{"weight": 2, "ramp": "Auto"}, {"weight": 50, "ramp": "Auto", "from": 5}]),
    yes("md", strategy={"type": "Recreate", "steps": [], "preview": True}),
    yes("md", strategy__type="RollingUpdate"),
    yes("md", strategy={"experiment": experiment()}),
    yes("md", strategy={"experiment": experiment({"weight": 98}, {"weight": 1}, minRequests=1)}),
    yes("md", strategy={"experiment": experiment({"match": [{"name": "x-a", "value": "b"}]}, {"weight": 9})}),
    yes("md", strategy={"experiment": experiment(metric="latency"), "analysis": {"latency": {}}}),
    yes(
        "md",
        server=ABSENT,
        strategy={"experiment": experiment(metric="quality"), "analysis": {"quality": {}}},
    ),
    yes("md", router=gateway(name="a"), strategy={"experiment": experiment({"weight": 1}, {"match": X_A})}),
    yes("md", router=gateway(route="a"), hosts=[], strategy={"experiment": experiment()}),
    yes("md", strategy__sticky={"cookie": "uid"}, strategy__preview=True),
    yes("md", router={"type": "Service"}, hosts=ABSENT, strategy={"preview": False}),
    yes("md", strategy__analysis__interval="1h"),
    yes("md", strategy__analysis__interval="1s"),
    yes("md", strategy__analysis__latency={}),
    yes("md", server=ABSENT, strategy__analysis__quality={}, strategy__analysis__predictions={}),
    yes("md", server=ABSENT, strategy={"steps": COPIES, "analysis": {"disagreement": {}}}),
    yes(
        "md",
        server=ABSENT,
        strategy={
            "steps": COPIES,
            "analysis": {"disagreement": {"maxRate": "0.02", "tolerance": "0.001"}},
        },
    ),
    yes(
        "md",
        server=ABSENT,
        strategy__analysis__quality={
            "metric": "brier",
            "maxDrop": "0",
            "optional": True,
            "initialDelay": "24h",
        },
    ),
    yes("md", strategy__analysis__queries=[{"name": "a", "template": "b", "failureCondition": "result > 1"}]),
    yes(
        "md",
        strategy__analysis__queries=[
            {"name": "a", "template": "b", "successCondition": "result > 1", "count": 1}
        ],
    ),
    yes("md", strategy__analysis__latency={"quantile": "0.5", "factor": "1.5"}),
    yes("md", strategy__analysis__latency={"quantile": "0.999", "factor": "10"}),
    yes("md", router={**gateway(name="public", settle="0s"), "timeout": "5s"}, strategy={}),
    yes("md", router=gateway(name="a", namespace="b", sectionName="c"), strategy={}),
    yes("md", router=gateway(name="a"), strategy={}, server={"grpcPort": 0}),
    yes("md", router=SERVICE, hosts=[], strategy={}, server=_TRITON),
    yes("md", router={"retries": 0}),
    yes("md", router=gateway(route="mine"), hosts=[], strategy={}),
    yes("md", router=gateway(name="a"), strategy={"steps": [{"mirror": 100, "match": []}], "preview": True}),
    yes("md", router=gateway(name="a"), strategy={"steps": [{"mirror": 99}]}),
    yes("md", router=SERVICE, hosts=[], strategy={"preview": True}),
    yes("md", router={"type": "Service"}, hosts=[], strategy={"steps": [{"weight": 50}, {"pause": True}]}),
    yes("md", router={"access": {"jwt": JWT, "apiKeys": {"secretName": "a", "header": "Authorization"}}}),
    yes("md", router={"access": {"jwt": {**JWT, "claims": {"https://a.example/roles": ["x", "y"]}}}}),
    yes(
        "md", router=_issued({"uri": "http://keycloak.auth.svc:8080/realms/a/protocol/openid-connect/certs"})
    ),
    yes("md", router=_issued({"uri": "https://a.example:65535/"})),
    yes("md", router=_issued({"uri": "https://a.example:60000/"})),
    yes("md", router=_issued({"configMapName": "a"})),
    yes("md", router={"access": {"jwt": {**JWT, "claims": {"a" * 128: ["b" * 128] * 16}}}}),
    yes("md", hosts=["internal", "mynoria.internal.example"]),
    yes("tj", data__1__uri="s3://lake/flights", data__1__secretName="lake"),
    yes("tj", data__1__uri="s3://lake/flights2", data__1__secretName="vault"),
    yes("md", replicas=0),
    yes("ct", template__spec__deployment="flight-delay"),
    yes("ct", triggers=[]),
    yes("ct", triggers=[{"name": "a", "schedule": "*/5 0-6,22 1,15 JAN-MAR MON"}]),
    yes("ct", triggers=[{"name": "a", "drift": {}, "action": "Retrain"}, {"name": "b", "dataQuality": {}}]),
    yes("ct", triggers=[{"name": "a", "drift": {"compareWith": "SameHour"}, "timeZone": "Europe/Berlin"}]),
    yes(
        "ct",
        triggers=[
            {
                "name": "flow",
                "timeZone": "UTC",
                "dataQuality": {
                    "minRows": 9,
                    "maxRows": 9,
                    "maxVolumeChange": "0.5",
                    "maxAge": "1h",
                    "maxLabelAge": "48h",
                },
            }
        ],
    ),
    yes(
        "ct",
        triggers=[
            {
                "name": "a",
                "drift": {
                    "measure": "ks",
                    "threshold": "0.1",
                    "share": "0.5",
                    "features": ["x"],
                    "compareWith": "PreviousWindow",
                    "falseAlarmsPerMonth": "1",
                    "window": "168h",
                    "for": 3,
                    "of": 3,
                },
            },
            {
                "name": "b",
                "dataQuality": {
                    "maxMissing": "0",
                    "maxUnseen": "1",
                    "maxOutOfRange": "0.5",
                    "features": ["x"],
                    "falseAlarmsPerMonth": "0.5",
                    "window": "10m",
                },
            },
            {
                "name": "c",
                "fairness": {
                    "feature": "sex",
                    "maxParityDifference": "0.1",
                    "minParityRatio": "0.8",
                    "maxOpportunityDifference": "0",
                    "maxOddsDifference": "0.2",
                    "falseAlarmsPerMonth": "0.5",
                    "window": "10m",
                },
            },
        ],
    ),
    yes(
        "ct",
        triggers=[
            {
                "name": "a",
                "performance": {
                    "metric": "expectedCost",
                    "max": "0.4",
                    "costMatrix": {"falseNegative": "10", "truePositive": "-1"},
                },
            },
            {
                "name": "several",
                "performance": {
                    "metric": "expectedCost",
                    "max": "0.4",
                    "costMatrix": {
                        "classes": [_fraud(predicted="fine"), _fraud(predicted="fraud", cost="-1.5")]
                    },
                },
            },
            {"name": "b", "performance": {"metric": "rmse", "relativeDrop": "0.1"}},
            {"name": "c", "performance": {"metric": "auc", "min": "0.5", "bySlice": True}},
            {"name": "d", "performance": {"metric": "ece", "max": "0.1", "bySlice": False}},
        ],
    ),
    yes(
        "ct",
        triggers=[
            {"name": "a", "estimatedPerformance": {"metric": "auc", "relativeDrop": "0.05", "window": "2h"}},
            {"name": "b", "conceptDrift": {"every": "5m"}},
        ],
    ),
    yes("ct", cooldown="0s"),
    yes("ct", triggers=[OLD, MANY, ANY_OF_BOTH, DEAR]),
    yes("ct", triggers=[FRESH]),
    yes("ct", budget={"maxCpuHours": "12.5", "maxGpuHours": "3", "per": "24h"}, followUp="72h", warmup="5m"),
    yes("ct", concurrencyPolicy="Queue", stopAfterFailures=0),
    yes("ct", template__spec=TEMPLATE),
    yes("md", server=POD),
]

_DEPLOYMENT = "a gate with versus: champion needs spec.deployment"
_EXACTLY_GATE = "set exactly one of min, max and versus"
_DROP = "set exactly one of maxDrop and minDelta with versus, and none without it"
_RESERVED = "is reserved: choose a name other than"
_SCHEME = "nothing else is allowed"
_STEP = "set something (weight, mirror, match, replicas) or wait"
_RAMP = "a ramp goes from `from` up to a greater weight"
_NO_LATENCY = "router type Gateway and Service has no sticky, analysis.latency: leave it out"
_NO_COPIES = "router type Service has no experiment, ramp, mirror, match, replicas in steps"
_ARMS = "each arm needs a weight or match"
_SEVERAL = "an experiment has several challengers"
_METRIC = "the metric of an experiment has to be judged"
_SEEN_IN_COPIES = "disagreement is seen in copies: add a step with mirror"
_MIRROR = "mirror comes before any weight"
_RISE = "steps must rise in weight, each weight once: sort them"
_INTERVAL = "must be between 1s and 1h"
_CUSTOM_ONLY = "command, args and port are for runtime: custom only"
_GRPC = "grpcPort must be 0 with runtime: noria, and another than port with custom"
_VERSION = "version must be <model>-<N>"
_ONE_TRIGGER = "set exactly one kind, like performance"
_ESTIMATE = "set exactly one of min, max and relativeDrop"
_OF = "for must not be more than of"
_PREVIOUS = "compareWith PreviousWindow needs features: their counts are kept in status"
_ALARMS = 'must be more than 0, like "0.01"'
_ONE_BOUND = "set exactly one of min, max, relativeDrop and cost"
_COMBINES = "combine.of must name triggers of this list"
_SOME_BUDGET = "set at least one of maxRuns, maxCpuHours and maxGpuHours"
_MV_NAME = "metadata.name must be <spec.model>-<spec.version>"
_MD_NAME = "metadata.name must begin with a letter and be a DNS label of at most 40 characters"
_KEYS = "keys must be qualified names"
_PARAMS = "names must be lower case with digits and _"
_LONGER = "must be longer than 0s"
_SHAPE = "paths hold letters, digits and"
_DOTS = "must not contain the segments . or .."

_BY_SLICE = {"metric": "auc", "versus": "champion", "maxDrop": "0", "bySlice": True}
REFUSED = [
    no("tj", _EXACTLY_GATE, gates=[{"metric": "auc"}]),
    no("tj", _EXACTLY_GATE, gates=[{"metric": "auc", "min": "0.1", "max": "0.2"}]),
    no("tj", _EXACTLY_GATE, gates=[{"metric": "auc", "min": "0.1", "versus": "champion", "maxDrop": "0"}]),
    no("tj", _DROP, gates=[{"metric": "auc", "versus": "champion"}]),
    no("tj", _DROP, gates=[{"metric": "auc", "min": "0.1", "maxDrop": "0.2"}]),
    no("tj", _DROP, gates=[{"metric": "auc", "versus": "champion", "maxDrop": "0", "minDelta": "0"}]),
    no("tj", "bySlice goes with versus", gates=[{"metric": "auc", "min": "0.1", "bySlice": True}]),
    no("tj", "bySlice goes with versus", gates=[_BY_SLICE | {"metric": "ece"}]),
    no("tj", "a gate with bySlice needs slices", gates=[_BY_SLICE], slices=ABSENT),
    no("tj", "give bounds or values", slices=[{"feature": "age", "bounds": ["1"], "values": ["1"]}]),
    no("tj", "evaluation.data must be the name of an entry in data", evaluation__data="none"),
    no("tj", "gates read the evaluation: add evaluation", evaluation=ABSENT),
    no("tj", "dataQuality.data must be the name of an entry in data", dataQuality={"data": "none"}),
    no("tj", "set timeColumn and maxAge together", dataQuality={"data": "train", "timeColumn": "at"}),
    no("tj", _DEPLOYMENT, deployment=ABSENT),
    no("tj", "must not end in _select", data__0__name="train_select"),
    no("tj", "one location has two Secrets", data__1__uri="s3://lake/flights", data__1__secretName="vault"),
    no("tj", _PARAMS, params={"MaxDepth": "6"}),
    no("tj", _PARAMS, params={"a" * 64: "6"}),
    no("tj", _RESERVED, env=[{"name": "NORIA_OUTPUT", "value": "/etc"}]),
    no("tj", _RESERVED, env=[{"name": "PARAM_X"}]),
    no("tj", _RESERVED, env=[{"name": "KUBERNETES_SERVICE_HOST"}]),
    no("tj", _RESERVED, env=[{"name": "PATH"}]),
    no("tj", _RESERVED, env=[{"name": "LD_PRELOAD"}]),
    no("tj", _RESERVED, env=[{"name": "PYTHONPATH"}]),
    no("tj", "set exactly one of secretRef and configMapRef", envFrom=[{}]),
    no(
        "tj",
        "set exactly one of secretRef and configMapRef",
        envFrom=[{"secretRef": {"name": "a"}, "configMapRef": {"name": "a"}}],
    ),
    no("tj", _KEYS, resources__limits={"a b": "1"}),
    no("tj", _KEYS, nodeSelector={"-": "1"}),
    no("tj", "an empty key needs operator: Exists", tolerations=[{"value": "a"}]),
    no("tj", "value goes with operator: Equal only", tolerations=[{"operator": "Exists", "value": "a"}]),
    no("tj", "tolerationSeconds goes with", tolerations=[{"operator": "Exists", "tolerationSeconds": 1}]),
    no("tj", _SCHEME, output__uri="file:///etc/passwd"),
    no("tj", _SCHEME, output__uri="http://169.254.169.254/latest"),
    no("tj", _SCHEME, data__0__uri="/etc/passwd"),
    no("tj", _SCHEME, output__uri="https://models.example.com/x"),
    no("tj", _SCHEME, data__0__uri="oci://ghcr.io/team/rows:1"),
    no("mv", _SCHEME, artifact__uri="http://models.example.com/x"),
    no("mv", _SCHEME, artifact__uri="file:///etc/passwd"),
    no("mv", _SHAPE, artifact__uri="https://user:pw@models.example.com/x"),
    no("mv", _SHAPE, artifact__uri="https://models.example.com/x?token=1"),
    no("mv", _SHAPE, artifact__uri="https://169.254.169.254/latest"),
    no("mv", _SHAPE, artifact__uri="https://2852039166/latest"),
    no("mv", _SHAPE, artifact__uri="https://0xa9fea9fe/latest"),
    no("mv", _SHAPE, artifact__uri="https://[fd00:ec2::254]/latest"),
    no("mv", _SHAPE, artifact__uri="https://[::ffff:169.254.169.254]/latest"),
    no("mv", _SHAPE, artifact__uri="oci://user:pw@ghcr.io/team/model:1"),
    no("mv", _SHAPE, artifact__uri="oci://ghcr.io/team/model"),
    no("mv", _SHAPE, artifact__uri="oci://ghcr.io/team/model@sha256:12"),
    no("mv", _DOTS, artifact__uri="https://models.example.com/../x"),
    no("tj", _SHAPE, output__uri="s3://user:pw@host/x"),
    no("tj", _SHAPE, output__uri="pvc://a//b"),
    no("tj", _SHAPE, output__uri="pvc:///etc"),
    no("tj", _SHAPE, output__uri="s3://bucket/a b"),
    no("tj", _SHAPE, output__uri="pvc://a/b\n"),
    no("tj", _SHAPE, output__uri="pvc://a/{{7*7}}"),
    no("tj", _DOTS, output__uri="pvc://models/../secrets"),
    no("tj", _DOTS, output__uri="s3://models/a/."),
    no("tj", _LONGER, deadlines__active="0s"),
    no("tj", _LONGER, deadlines__pending="0h0m"),
    no("tj", "metadata.name must be a DNS label of at most 63 characters", name="a.b"),
    no("mv", _MV_NAME, name="flight-delay-5"),
    no("mv", _MV_NAME, name="flight-delay-04"),
    no("mv", _MV_NAME, name="delay-4"),
    no("mv", _MV_NAME, name="flight-delay"),
    no("mv", _MV_NAME, name="flight-delay-x-4"),
    no("mv", _SCHEME, artifact__uri="file:///etc/passwd"),
    no("md", _STEP, strategy__steps=[{}]),
    no("md", _STEP, strategy__steps=[{"pause": False}]),
    no("md", "minRequests does not go with pause", strategy__steps=[{"pause": True, "minRequests": 1}]),
    no("md", "say how long", strategy={"experiment": experiment(duration=None)}),
    no("md", _ARMS, strategy={"experiment": experiment({"weight": 50}, {"weight": 50})}),
    no("md", _ARMS, strategy={"experiment": experiment({"weight": 50}, {})}),
    no("md", _ARMS, strategy={"experiment": experiment({"weight": 50}, {"weight": 0, "match": []})}),
    no(
        "md",
        "leave version out",
        follow=ABSENT,
        version="flight-delay-3",
        strategy={"experiment": experiment()},
    ),
    no("md", _SEVERAL, strategy={"experiment": experiment(), "preview": True}),
    no("md", _SEVERAL, strategy={"experiment": experiment(), "type": "Recreate"}),
    no("md", _METRIC, strategy={"experiment": experiment(metric="latency"), "analysis": {"quality": {}}}),
    no("md", _METRIC, strategy={"experiment": experiment(metric="quality")}),
    no("md", _NO_COPIES, router=SERVICE, hosts=[], strategy={"experiment": experiment()}),
    no(
        "md",
        "only weights are",
        router=gateway(route="a"),
        hosts=[],
        strategy={"experiment": experiment({"weight": 1}, {"match": X_A})},
    ),
    no("md", "type Recreate has no second version", strategy__type="Recreate"),
    no("md", _MIRROR, strategy__steps=[{"weight": 10, "mirror": 10}]),
    no("md", _RAMP, strategy__steps=[{"ramp": "Auto", "duration": "1m"}]),
    no("md", _RAMP, strategy__steps=[{"ramp": "Auto", "weight": 5, "from": 5}]),
    no("md", _RAMP, strategy__steps=[{"ramp": "Auto", "weight": 1}]),
    no("md", _RAMP, strategy__steps=[{"weight": 10, "from": 5}]),
    no("md", "set exactly one of header and cookie", strategy__sticky={}),
    no("md", "set exactly one of header and cookie", strategy__sticky={"header": "a", "cookie": "b"}),
    no("md", _MIRROR, strategy__steps=[{"weight": 10}, {"mirror": 10}]),
    no("md", _RISE, strategy__steps=[{"weight": 50}, {"weight": 10}]),
    no("md", _RISE, strategy__steps=[{"weight": 10}, {"pause": True}, {"weight": 10}]),
    no("md", _INTERVAL, strategy__analysis__interval="999ms"),
    no("md", _INTERVAL, strategy__analysis__interval="61m"),
    no("md", "need runtime: noria", strategy__analysis__quality={}),
    no("md", "need runtime: noria", strategy__analysis__predictions={}),
    no("md", "need runtime: noria", strategy={"steps": COPIES, "analysis": {"disagreement": {}}}),
    no("md", _SEEN_IN_COPIES, server=ABSENT, strategy={"analysis": {"disagreement": {}}}),
    no(
        "md",
        _SEEN_IN_COPIES,
        server=ABSENT,
        strategy={"steps": [{"weight": 10, "duration": "1m"}], "analysis": {"disagreement": {}}},
    ),
    no(
        "md",
        _SEEN_IN_COPIES,
        server=ABSENT,
        strategy={"steps": COPIES, "experiment": experiment(), "analysis": {"disagreement": {}}},
    ),
    no(
        "md",
        _NO_COPIES,
        server=ABSENT,
        router=SERVICE,
        hosts=[],
        strategy={"steps": COPIES, "analysis": {"disagreement": {}}},
    ),
    no("md", "set successCondition", strategy__analysis__queries=[{"name": "a", "template": "b"}]),
    no("md", "needs an interval", strategy__analysis__queries__0__interval=ABSENT),
    no("md", "letters and digits", strategy__analysis__queries__0__args={"a-b": "c"}),
    no("md", _INTERVAL, strategy__analysis__queries__0__interval="2h"),
    no("md", "between 0.5 and 0.999", strategy__analysis__latency__quantile="0.49"),
    no("md", "between 0.5 and 0.999", strategy__analysis__latency__quantile="0.9999"),
    no("md", "between 1.5 and 10", strategy__analysis__latency__factor="1.49"),
    no("md", "between 1.5 and 10", strategy__analysis__latency__factor="10.01"),
    no("md", "runtime: custom needs an image", server={"runtime": "custom"}),
    no("md", _CUSTOM_ONLY, server={"command": ["a"]}),
    no(
        "md",
        "warmUp and payloadLog are for runtime: noria only",
        server={"runtime": "custom", "image": "a", "payloadLog": {"uri": "s3://lake/log"}},
    ),
    no(
        "md",
        "warmUp and payloadLog are for runtime: noria only",
        server={"runtime": "custom", "image": "a", "warmUp": {"rows": [1]}},
    ),
    no("md", _SCHEME, server={"payloadLog": {"uri": "/tmp"}}),
    no("md", _DOTS, server={"payloadLog": {"uri": "pvc://log/../other"}}),
    no("md", _INTERVAL, server={"payloadLog": {"uri": "s3://lake/log", "every": "0s"}}),
    no("md", _CUSTOM_ONLY, server={"runtime": "noria", "args": ["a"]}),
    no("md", _CUSTOM_ONLY, server={"port": 9000}),
    no("md", _GRPC, server={"grpcPort": 8082}),
    no("md", _GRPC, server={"runtime": "custom", "image": "a", "grpcPort": 8080}),
    no("md", _GRPC, server={"runtime": "custom", "image": "a", "port": 9000, "grpcPort": 9000}),
    no("md", "set follow or version, not both", version="flight-delay-3"),
    no("md", _VERSION, follow=ABSENT, version="other-3"),
    no("md", _VERSION, follow=ABSENT, version="flight-delay-03"),
    no("md", _VERSION, follow=ABSENT, version="flight-delay"),
    no("md", "noria.internal is the router's own", hosts=["version.noria.internal"]),
    no("md", "type Gateway needs gateway", router={"type": "Gateway"}),
    no("md", "type Gateway needs gateway", router={"gateway": {"name": "public"}}),
    no("md", "type Gateway needs gateway", router={"type": "Service", "gateway": {"route": "r"}}, hosts=[]),
    no("md", "name the Gateway (name) or an HTTPRoute", router=gateway(name="public", route="mine")),
    no("md", "name the Gateway (name) or an HTTPRoute", router=gateway(namespace="shared")),
    no("md", "names its own Gateway", router=gateway(route="mine", sectionName="https"), hosts=[]),
    no("md", "settle must be at most 10m", router=gateway(name="public", settle="11m")),
    no("md", "has no replicas", router={**gateway(name="public"), "replicas": 2}),
    no("md", "has no replicas", router={"type": "Service", "replicas": 1}, hosts=[]),
    no("md", "has no timeout", router={"type": "Service", "timeout": "5s"}, hosts=[]),
    no("md", "has no replicas, retries", router={"type": "Service", "retries": 0}, hosts=[]),
    no("md", "retries", router={"retries": 6}),
    no("md", "brings no gRPC", router=gateway(name="a"), strategy={}, server=_TRITON),
    no("md", "no replicas, retries, tls", router={**SERVICE, "tls": {"secretName": "a"}}, hosts=[]),
    no("md", "no replicas, retries, tls", router={**SERVICE, "access": {"jwt": JWT}}, hosts=[]),
    no("md", "no replicas, retries, tls", router={**gateway(name="a"), "access": {"jwt": JWT}}, strategy={}),
    no("md", "say apiKeys, jwt or both", router={"access": {}}),
    no("md", "name one of secretName", router={"access": {"jwt": {**JWT, "jwks": {}}}}),
    no("md", "name one of secretName", router=_issued({"secretName": "a", "uri": "https://a.example/"})),
    no("md", "name one of secretName", router=_issued({"secretName": "a", "configMapName": "a"})),
    no("md", "audiences", router={"access": {"jwt": {**JWT, "audiences": []}}}),
    no("md", "claims", router={"access": {"jwt": {**JWT, "claims": {"role": []}}}}),
    no("md", "at most 128", router={"access": {"jwt": {**JWT, "claims": {"a" * 129: ["b"]}}}}),
    *(no("md", "uri", router=_issued({"uri": uri})) for uri in _REFUSED_ISSUERS),
    no("md", "header", router={"access": {"apiKeys": {"secretName": "a", "header": ":authority"}}}),
    no("md", "secretName", router={"access": {"apiKeys": {"secretName": "../a"}}}),
    no("md", "says its own timeout", router={**gateway(route="mine"), "timeout": "5s"}, hosts=[]),
    no("md", "has no hosts", router={"type": "Service"}, hosts=["a.example"]),
    no(
        "md",
        _NO_LATENCY,
        router=gateway(name="a"),
        strategy={"sticky": {"header": "a"}},
    ),
    no(
        "md",
        _NO_COPIES,
        router=SERVICE,
        hosts=[],
        strategy={"steps": [{"mirror": 100}]},
    ),
    no("md", _NO_COPIES, router=SERVICE, hosts=[], strategy={"steps": [{"match": []}]}),
    no("md", "only weights are", router=gateway(route="a"), hosts=[], strategy={"steps": [{"mirror": 100}]}),
    no("md", "only weights are", router=gateway(route="a"), hosts=[], strategy={"steps": [{"match": []}]}),
    no("md", _NO_COPIES, router=SERVICE, hosts=[], strategy={"steps": [{"replicas": 1}]}),
    no("md", _NO_LATENCY, router=gateway(name="a"), strategy__analysis__latency={}),
    no("md", "an HTTPRoute of yours says its own", router=gateway(route="mine"), hosts=["a.example"]),
    no("md", "at most 50", router={"type": "Service"}, hosts=[], strategy={"steps": [{"weight": 51}]}),
    no("md", "noria.internal is the router's own", hosts=["noria.internal"]),
    no("md", _MD_NAME, name="1-model"),
    no("md", _MD_NAME, name="a" * 41),
    no("md", _MD_NAME, name="a.b"),
    no("md", "the name noria-router belongs to the namespace's router", name="noria-router"),
    no("ct", _ONE_TRIGGER, triggers=[{"name": "a"}]),
    no(
        "ct",
        _ONE_TRIGGER,
        triggers=[{"name": "a", "schedule": "0 2 * * 1", "performance": {"metric": "auc", "min": "0"}}],
    ),
    no("ct", _ONE_TRIGGER, triggers__0__drift={}),
    no("ct", "of two classes", triggers=_costs(classes=[_fraud(predicted="fine")], falsePositive="1")),
    no("ct", "of two classes", triggers=_costs(classes=[_fraud(predicted="fine")], trueNegative="0")),
    no(
        "ct",
        "costMatrix goes with metric expectedCost only",
        triggers=[{"name": "a", "performance": {"metric": "f1", "min": "0.5", "costMatrix": {}}}],
    ),
    no(
        "ct",
        "bySlice and falseAlarmsPerMonth go without cost",
        triggers=[
            {
                "name": "a",
                "performance": {
                    "metric": "f1",
                    "cost": {"pointDay": "1", "run": "1"},
                    "falseAlarmsPerMonth": "0.1",
                },
            }
        ],
    ),
    no(
        "ct",
        "bySlice and falseAlarmsPerMonth go without cost",
        triggers=[
            {
                "name": "a",
                "performance": {"metric": "f1", "cost": {"pointDay": "1", "run": "1"}, "bySlice": True},
            }
        ],
    ),
    no("ct", _ESTIMATE, triggers=[{"name": "a", "estimatedPerformance": {"metric": "auc"}}]),
    no("ct", _OF, triggers=[{"name": "a", "drift": {"for": 4}}]),
    no("ct", _PREVIOUS, triggers=[{"name": "a", "drift": {"compareWith": "PreviousWindow"}}]),
    no("ct", _ALARMS, triggers=[{"name": "a", "drift": {"falseAlarmsPerMonth": "0.0"}}]),
    no("ct", _ALARMS, triggers=[{"name": "a", "dataQuality": {"falseAlarmsPerMonth": "0"}}]),
    no("ct", "set at least one bound", triggers=[{"name": "a", "fairness": {"feature": "sex"}}]),
    no("ct", "timeZone goes with schedule, drift and dataQuality only", triggers__0__timeZone="UTC"),
    no(
        "ct",
        "minRows must not be more than maxRows",
        triggers=[{"name": "a", "dataQuality": {"minRows": 10, "maxRows": 9}}],
    ),
    no("ct", _COMBINES, triggers=[OLD, ANY_OF_BOTH]),
    no(
        "ct", _COMBINES, triggers=[OLD, MANY, ANY_OF_BOTH, {"name": "all", "combine": {"of": ["any", "old"]}}]
    ),
    no("ct", "name each trigger once", triggers=[OLD, {"name": "x", "combine": {"of": ["old", "old"]}}]),
    no(
        "ct",
        "atLeast must not be more than the triggers in of",
        triggers=[OLD, MANY, ANY_OF_BOTH | {"combine": {"of": ["old", "many"], "atLeast": 3}}],
    ),
    no(
        "ct",
        "must be the name of an entry in template.spec.data",
        triggers=[FRESH | {"dataChange": {"data": "x"}}],
    ),
    no("ct", _LONGER, triggers=[FRESH | {"dataChange": {"data": "holdout", "every": "0s"}}]),
    no("ct", _SOME_BUDGET, budget={"per": "24h"}),
    no("ct", _LONGER, triggers=[OLD | {"maxAge": "0s"}]),
    no("ct", _LONGER, followUp="0s"),
    no("ct", _ONE_BOUND, triggers__0__performance__min="0.5"),
    no("ct", _ONE_BOUND, triggers__0__performance={"metric": "auc"}),
    no("ct", "template.spec.deployment must equal deployment", template__spec__deployment="other"),
    no("ct", "metadata.name must be a DNS label of at most 40 characters", name="a" * 41),
]

# The same rules where the same fields stand in other kinds. A template needs no deployment: it is filled in.
REFUSED += [
    Case(
        "ct",
        (
            ("spec.template.spec", TEMPLATE),
            *((f"spec.template.{path}", value) for path, value in case.changes),
        ),
        case.message,
    )
    for case in REFUSED
    if case.base == "tj" and case.changes[0][0].startswith("spec.") and case.message != _DEPLOYMENT
]
REFUSED += [
    Case(
        "md",
        (("spec.server", POD), *((f"spec.server.{path[5:]}", value) for path, value in case.changes)),
        case.message,
    )
    for case in REFUSED
    if case.base == "tj" and case.changes[0][0].split(".")[1] in POD
]

# Refused by the schema itself: the words differ, the answer does not.
REFUSED_BY_SCHEMA = [
    no("ct", "", triggers=_costs(classes=[_fraud(predicted="fine"), _fraud(predicted="fine", cost="1")])),
    no("ct", "", triggers=_costs(classes=[])),
    no("ct", "", triggers=_costs(classes=[{"label": "fraud", "predicted": "fine"}])),
    no("ct", "", triggers=_costs(classes=[_fraud(predicted="")])),
    no("tj", "", seed="7"),
    no("tj", "", seed=-1),
    no("tj", "", seed=True),
    no("tj", "", model=None),
    no("tj", "", args=[None]),
    no("tj", "", bogus=1),
    no("tj", "", model=ABSENT),
    no("tj", "", model="Flight"),
    no("tj", "", model="a" * 41),
    no("tj", "", image="a b"),
    no("tj", "", image=""),
    no("tj", "", args=["a\x00b"]),
    no("tj", "", args=["a"] * 129),
    no("tj", "", deadlines__active="-5m"),
    no("tj", "", deadlines__active="1e9h"),
    no("tj", "", deadlines__active="P1D"),
    no("tj", "", deadlines__active="5"),
    no("tj", "", deadlines__active=5),
    no("tj", "", gates=[{"metric": "auc", "min": 0.65}]),
    no("tj", "", gates=[{"metric": "auc", "min": "NaN"}]),
    no("tj", "", gates=[{"metric": "auc", "min": "1e-3"}]),
    no("tj", "", gates=[{"metric": "auc", "versus": "champion", "maxDrop": "-0.1"}]),
    no("tj", "", gates=[{"metric": "auc", "versus": "somebody", "maxDrop": "0.1"}]),
    no("tj", "", data=[{"name": "a", "uri": "s3://bkt/a"}, {"name": "a", "uri": "s3://bkt/b"}]),
    no("tj", "", env=[{"name": "A"}, {"name": "A"}]),
    no("tj", "", env=[{"name": f"A{i}"} for i in range(65)]),
    no("tj", "", evaluation__metrics=["auc", "auc"]),
    no("tj", "", evaluation__metrics=["auc", "brier"]),
    no("tj", "", gates=[{"metric": "f1", "min": "0.5"}]),
    no("ct", "", template__spec__gates=[{"metric": "acuracy", "min": "0.5"}]),
    no("tj", "", dataQuality={"data": "train", "maxDuplicates": "1.1"}),
    *(
        no("ct", "", triggers=[{"name": "a", "dataQuality": {name: "1.1"}}])
        for name in ("maxMissing", "maxUnseen", "maxOutOfRange")
    ),
    no("tj", "", evaluation__image="a b"),
    no("tj", "", resources__requests={"cpu": "-1"}),
    no("tj", "", resources__requests={"cpu": -1}),
    no("tj", "", resources__requests={"cpu": 0.5}),
    no("tj", "", resources__requests={"cpu": True}),
    no("tj", "", hostNetwork=True),
    no("tj", "", envFrom=[{"secretRef": {"name": "a", "namespace": "kube-system"}}]),
    no("mv", "", artifact__digest="sha256:abc"),
    no("mv", "", artifact__format="tar"),
    no("mv", "", artifact__format="Python"),
    no("mv", "", version=0),
    no("mv", "", evaluation__metrics={"auc": "NaN"}),
    no("mv", "", card="a" * 16_385),
    no("md", "", strategy__steps=[{"ramp": "Manual", "weight": 5}]),
    no("md", "", strategy__steps=[{"ramp": "Auto", "weight": 5, "from": 0}]),
    no("md", "", strategy__type="Canary"),
    no("md", "", strategy__steps=[{"mirror": 0}]),
    no("md", "", strategy__sticky={"header": "x y"}),
    no("md", "", strategy__steps=[{"mirror": 101}]),
    no("md", "", strategy__steps=[{"replicas": 0}]),
    no("md", "", strategy__steps=[{"replicas": 1001}]),
    no("md", "", strategy__steps=[{"replicas": "0%"}]),
    no("md", "", strategy__steps=[{"replicas": "101%"}]),
    no("md", "", strategy__steps=[{"replicas": "3"}]),
    no("md", "", strategy__steps=[{"analysis": {"errors": {}}}]),
    no("md", "", strategy__steps=[{"match": [{"name": ":path", "value": "a"}]}]),
    no("md", "", strategy__steps=[{"match": [{"name": "a", "value": ""}]}]),
    no("md", "", strategy__steps=[{"match": [{"name": "a", "value": "b\n"}]}]),
    no("md", "", strategy__steps=[{"match": [{"name": "a", "value": "b"}] * 5}]),
    no("md", "", strategy__steps=[{"weight": 100}]),
    no("md", "", strategy__steps=[{"weight": -1}]),
    no("md", "", strategy__steps=[{"weight": 2**63}]),
    no("md", "", strategy__steps=[{"pause": True}] * 21),
    no("md", "", strategy__retry={"limit": 0}),
    no("md", "", strategy__retry={"limit": 11}),
    no("md", "must be longer than 0s", strategy__retry={"delay": "0s"}),
    no("md", "", strategy__retry={"factor": 2}),
    no("md", "", strategy__analysis__errors__tolerated="0"),
    no("md", "", server=ABSENT, strategy={"steps": COPIES, "analysis": {"disagreement": {"maxRate": "1"}}}),
    no("md", "", strategy__analysis__errors__tolerated="1"),
    no("md", "", strategy__analysis__errors__tolerated="0.0000"),
    no("md", "", hosts=["a.example", "a.example"]),
    no("md", "", hosts=["UPPER.example"]),
    no("md", "", router__type="Nginx"),
    no("md", "", replicas=-1),
    no("md", "", server={"warmUp": {}}),
    no("md", "", server={"warmUp": {"rows": []}}),
    no("md", "", server={"warmUp": {"rows": [0]}}),
    no("md", "", server={"warmUp": {"rows": [1, 1]}}),
    no("md", "", server={"warmUp": {"rows": [1], "calls": 0}}),
    no("ct", "", triggers__3__schedule="99 * * * *"),
    no("ct", "", triggers__3__schedule="* * * *"),
    no("ct", "", triggers__3__timeZone="../etc/passwd"),
    no("ct", "", budget__maxRuns=0),
    no("ct", "", concurrencyPolicy="Allow"),
    no("ct", "", triggers__3__action="Restart"),
    no("ct", "", triggers=[FRESH | {"dataChange": {"data": "holdout", "dvcFile": "../../etc/passwd.dvc"}}]),
    no("ct", "", triggers=[MANY | {"newSamples": {"count": 0}}]),
]


@dataclass(frozen=True)
class Change:
    """An update of a stored object, refused with `message` or accepted when that is empty."""

    base: str
    path: str
    value: Any
    message: str = ""


FIXED = {
    "tj": "make a new TrainingJob with the other value",
    "mv": "a version never changes; make another version instead",
}
IMMUTABLE = {
    "tj": {
        "env": [], "envFrom": [], "resources": {}, "nodeSelector": {"disktype": "hdd"}, "tolerations": ABSENT,
        "affinity": {"nodeAffinity": {"anything": []}}, "topologySpreadConstraints": ABSENT,
        "imagePullSecrets": [{"name": "other"}], "serviceAccountName": ABSENT, "priorityClassName": "high",
        "model": "other", "image": "other", "command": ABSENT, "args": [], "params": {"max_depth": "7"},
        "seed": 8, "data": [TRAINING["spec"]["data"][1]], "output": {"uri": "pvc://models/other"},
        "deployment": "other", "evaluation": {"data": "train", "label": "late"},
        "gates": [{"metric": "auc", "min": "0.1"}], "retries": ABSENT, "deadlines": {"active": "9h"},
        "dataQuality": {"data": "train"},
        "slices": [{"feature": "sex"}],
    },
    "mv": {
        "artifact": {"uri": "s3://other/4", "digest": SHA, "format": "onnx"}, "signature": ABSENT,
        "lineage": ABSENT, "evaluation": {"metrics": {"auc": "0.99"}}, "reference": ABSENT, "speed": ABSENT,
    },
}  # fmt: skip
CHANGES = [
    *(
        Change(base, f"spec.{field}", value, f"spec.{field} is immutable: {FIXED[base]}")
        for base, fields in IMMUTABLE.items()
        for field, value in fields.items()
    ),
    Change("md", "spec.model", "other", "model is immutable: make a new ModelDeployment"),
    Change("tj", "spec.suspend", True),
    Change("tj", "spec.ttlSecondsAfterFinished", ABSENT),
    Change("mv", "spec.card", "new"),
    Change("mv", "spec.aliases", ["prod", "blue"]),
    Change("mv", "spec.hold", True),
    Change("md", "spec.router", gateway(name="public"), "router.type is immutable: make a second"),
    Change("md", "spec.router", ABSENT),
    Change("md", "spec.replicas", 5),
    Change("md", "spec.strategy", {"steps": []}),
    Change("ct", "spec.template.spec.image", "other"),
]
