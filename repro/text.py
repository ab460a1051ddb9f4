"""Numbers as a reader wants them, in the terminal and in the report."""

import math

from repro.stats import Estimate

__all__ = ["NOT_RUN", "crossing", "duration", "estimate_text", "number", "percent"]

NOT_RUN = "not run"


def percent(fraction: float) -> str:
    """`24.9 %`; empty when nothing was measured."""
    return f"{100 * fraction:.1f} %" if math.isfinite(fraction) else ""


def number(value: float) -> str:
    """Two decimals; infinity as its sign."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.2f}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 10 s`, `2 h 05 min`."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def crossing(interval: tuple[float, float] | None) -> str:
    """`5.9 to 6.0` epochs; empty when it was not seen."""
    return "" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"


def estimate_text(estimate: Estimate | None) -> str:
    """`3.10 (95 % interval 2.20 to 4.40)`, `at least 2.10 (95 % bound)`, or `not measured`."""
    if estimate is None:
        return "not measured"
    level = f"{100 * estimate.level:g} %"
    if estimate.bound == "lower":
        return f"at least {number(estimate.low)} ({level} bound)"
    if estimate.bound == "upper":
        return f"at most {number(estimate.high)} ({level} bound)"
    low, high = number(estimate.low), number(estimate.high)
    return f"{number(estimate.value)} ({level} interval {low} to {high})"
