"""What users write: the four kinds as pydantic models, the only source of the CRDs and of their reference.

Comes in: JSON of the API server. Goes out: frozen models, or one readable error. Invariant: the CRDs accept
what these models accept, and nothing else.
"""

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.parsing import InvalidSpec, parse, parse_as
from noria_operator.api.trainingjob import TrainingJob

__all__ = [
    "ContinuousTraining",
    "InvalidSpec",
    "ModelDeployment",
    "ModelVersion",
    "TrainingJob",
    "parse",
    "parse_as",
]
