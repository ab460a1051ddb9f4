"""One function a figure: takes axes and data, sets labels with units, returns the axes.

May import `claim`, `registry` and `stats`; knows no store and no page.

Errors come as fractions and are drawn in percent. A censored trial is drawn as an arrowhead where
it ended, never as a crossing. What belongs to an arm has the gid `arm-N`, its range over seeds
`band-N`, the paper's points `paper-N`.
"""

from repro.report.figures.curves import (
    ArmCurves,
    ArmErrors,
    Band,
    Floats,
    PaperCurve,
    error_curves,
    learning_curves,
)
from repro.report.figures.effects import EffectRow, effects
from repro.report.figures.forest import ForestRow, forest, forest_height
from repro.report.figures.images import confusion, examples, kernels, nearest
from repro.report.figures.rates import ArmRates, RatePoint, rate_sensitivity
from repro.report.figures.seeds import CrossingRow, MetricRow, Seeds, crossing_times, metric_points
from repro.report.figures.style import GREY, INK, SCHEME, STYLE
