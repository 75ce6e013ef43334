"""The controllers of Noria, in the order in which a model goes through them."""

from __future__ import annotations

from noria_operator.controllers import (
    continuoustraining,
    modeldeployment,
    modelversion,
    router,
    trainingjob,
)
from noria_operator.controllers.context import Controller

CONTROLLERS: tuple[Controller, ...] = (
    trainingjob,
    modelversion,
    modeldeployment,
    router,
    continuoustraining,
)
