"""What all dashboards are made of: queries, panels, variables, annotations.

In: PromQL with Grafana's variables. Out: builders of the Grafana SDK. Invariants: the data source is a
variable; every panel has a title that says what it shows and a description that says how to read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    common,
    dashboard,
    prometheus,
    stat,
    statushistory,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
PLACE: Final = 'namespace=~"$namespace"'
"""Matchers of what tells its namespace and no model."""
WHERE: Final = f'{PLACE},model=~"$model"'
"""Matchers of everything that tells its namespace and model."""
VERSION: Final = f'{WHERE},version=~"$version"'
OURS: Final = f"and on (namespace, deployment) noria_deployment_phase{{{WHERE}}}"
"""Of what tells its deployment and no model, that of the models that are chosen."""
DEPLOYED: Final = "{{namespace}}/{{deployment}}"
"""How series of a ModelDeployment are called where several namespaces may be chosen."""
SERVED: Final = f"{DEPLOYED} {{{{version}}}}"
"""The same of a version."""
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
Query = tuple[str, str]
"""PromQL, and how its series are called."""
Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first from None."""
Panel = timeseries.Panel | stat.Panel | table.Panel | statushistory.Panel | barchart.Panel
_P = TypeVar("_P", timeseries.Panel, stat.Panel, table.Panel, statushistory.Panel, barchart.Panel)


def ours(expr: str) -> str:
    """What is known by deployment only (from routers), of the models that are chosen."""
    return f"{expr}{{{PLACE}}} {OURS}"


def champions(expr: str) -> str:
    """Of what is told by version, that of champions: a challenger with few rows has figures of its own."""
    return f'{expr} and on (namespace, deployment, version) noria_deployment_weight_ratio{{role="champion",{VERSION}}}'


def led(metric: str, *labels: str, where: str = WHERE) -> str:
    """What the leading operator tells by these labels beside namespace and deployment: one series, also over
    the time at which another replica began to lead.
    """
    return f"max by (namespace, deployment, {', '.join(labels)}) ({metric}{{{where}}})"


def lines(
    title: str,
    says: str,
    *queries: Query,
    unit: str = "short",
    width: int = 8,
    height: int = 8,
    least: float | None = 0,
    most: float | None = None,
    stacked: bool = False,
) -> timeseries.Panel:
    """Values over time."""
    panel = (
        _framed(timeseries.Panel(), title, says, width, height)
        .unit(unit)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(_below())
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if least is not None:
        panel = panel.min(least)
    if most is not None:
        panel = panel.max(most)
    for letter, (expr, legend) in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(_query(letter, expr).legend_format(legend).range())
    return panel


def between(title: str, says: str, high: str, low: str, *queries: Query, unit: str) -> timeseries.Panel:
    """Values over time, and the band from `low` to `high` (PromQL of one series each) filled."""
    quiet = [
        models.DynamicConfigValue(id_val="custom.lineWidth", value=0),
        models.DynamicConfigValue(id_val="custom.fillBelowTo", value="low"),
        models.DynamicConfigValue(id_val="custom.fillOpacity", value=20),
    ]
    panel = lines(title, says, (high, "high"), (low, "low"), *queries, unit=unit, width=12, least=None)
    return panel.override_by_name("high", quiet).override_by_name("low", quiet[:1])


def number(
    title: str, says: str, expr: str, *, unit: str = "short", steps: Steps = ((None, BLUE),), width: int = 4
) -> stat.Panel:
    """A value of now, one for each of the query's series."""
    return (
        _framed(stat.Panel(), title, says, width, 4)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .with_target(_query("A", expr).range())
    )


def rows(
    title: str,
    says: str,
    *columns: tuple[str, str, str],
    names: Sequence[str],
    width: int = 24,
    height: int = 9,
) -> table.Panel:
    """A table of now: `columns` are (heading, PromQL, unit), joined by the labels `names`, which come first."""
    panel = _framed(table.Panel(), title, says, width, height)
    renamed: dict[str, str] = {name: name for name in names}
    for letter, (heading, expr, unit) in zip(ascii_uppercase, columns, strict=False):
        panel = panel.with_target(_query(letter, expr).instant().format(PromQueryFormat.TABLE))
        field = f"Value #{letter}" if len(columns) > 1 else "Value"
        renamed[field] = heading
        panel = panel.override_by_name(heading, [models.DynamicConfigValue(id_val="unit", value=unit)])
    order = {name: index for index, name in enumerate(renamed)}
    return panel.with_transformation(
        models.DataTransformerConfig(id_val="merge", options={})
    ).with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed},
        )
    )


def heat(
    title: str, says: str, expr: str, legend: str, *, steps: Steps, width: int = 24, height: int = 11
) -> statushistory.Panel:
    """A row a series, a cell a moment, coloured by value."""
    return (
        _framed(statushistory.Panel(), title, says, width, height)
        .decimals(3)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .show_value(common_models.VisibilityMode.NEVER)
        .row_height(0.9)
        .max_data_points(60)
        .legend(_below())
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.SINGLE))
        .with_target(_query("A", expr).legend_format(legend).range())
    )


def bars(title: str, says: str, x: str, *queries: Query, width: int = 12, height: int = 9) -> barchart.Panel:
    """Values of now by the label `x`, one colour a query."""
    panel = (
        _framed(barchart.Panel(), title, says, width, height)
        .unit("percentunit")
        .min(0)
        .x_field(x)
        .fill_opacity(80)
        .show_value(common_models.VisibilityMode.NEVER)
        .legend(_below())
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    renamed: dict[str, str] = {}
    for letter, (expr, name) in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(_query(letter, expr).instant().format(PromQueryFormat.TABLE))
        renamed[f"Value #{letter}"] = name
    hidden = {f"Time {index + 1}": True for index in range(len(queries))} | {"Time": True}
    return panel.with_transformation(
        models.DataTransformerConfig(id_val="joinByField", options={"byField": x, "mode": "outer"})
    ).with_transformation(
        models.DataTransformerConfig(
            id_val="organize", options={"excludeByName": hidden, "indexByName": {}, "renameByName": renamed}
        )
    )


def page(uid: str, title: str, says: str) -> dashboard.Dashboard:
    """A dashboard of which the data source can be chosen."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(says)
        .tags(["noria"])
        .readonly()
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Noria")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["noria"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("data source").type("prometheus"))
    )


def of_models(uid: str, title: str, says: str, *, several: bool = True) -> dashboard.Dashboard:
    """A dashboard of which namespaces (or a single one, in which no two versions have one name) and models can
    be chosen, too.
    """
    told = "noria_deployment_phase"
    return (
        page(uid, title, says)
        .with_variable(choice("namespace", f"label_values({told}, namespace)", every=several))
        .with_variable(choice("model", f"label_values({told}{{{PLACE}}}, model)", every=True))
    )


def choice(name: str, query: str, *, every: bool = False, newest: bool = False) -> dashboard.QueryVariable:
    """A variable whose values a query gives; `every`: several or all may be chosen; `newest`: from the end."""
    order = models.VariableSort.NATURAL_DESC if newest else models.VariableSort.NATURAL_ASC
    made = (
        dashboard.QueryVariable(name)
        .label(name)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(order)
    )
    if every:
        everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
        made = made.multi(True).include_all(True).all_value(".*").current(everything)
    return made


def versions() -> dashboard.QueryVariable:
    """The versions that are or were served."""
    return choice("version", f"label_values(model_info{{{WHERE}}}, version)", every=True)


def happened(built: dashboard.Dashboard) -> dashboard.Dashboard:
    """Lines where something happened: trainings, promotions, aborts."""
    event = "noria_deployment_event_timestamp_seconds"
    for name, expr, colour in (
        ("trainings", f"noria_training_last_start_timestamp_seconds{{{WHERE}}} * 1000", BLUE),
        ("promotions", f'{event}{{{VERSION},event="Promoted"}} * 1000', GREEN),
        ("aborts", f'{event}{{{VERSION},event=~"RolledBack|RolloutCancelled"}} * 1000', RED),
    ):
        built = built.annotation(
            dashboard.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .enable(True)
            .icon_color(colour)
            .expr(expr)
        )
    return built


def _framed(panel: _P, title: str, says: str, width: int, height: int) -> _P:
    """What every panel has."""
    return panel.title(title).description(says).datasource(SOURCE).span(width).height(height)


def _below() -> common.VizLegendOptions:
    """The names of the series under the panel."""
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
    )


def _query(letter: str, expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(letter).datasource(SOURCE).expr(" ".join(expr.split()))


def _thresholds(steps: Steps) -> Any:
    found = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)
