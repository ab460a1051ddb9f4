"""Test the claims of a paper with controlled, multi-seed training runs.

    import repro

    claim = repro.load("lrn")                    # a name, or the path of a claim file
    repro.validate("claims/lrn.yaml")            # all that is wrong with it
    repro.plan(claim, "smoke")                   # the trials that come next
    results = repro.run(claim, "smoke")          # trains what is missing
    results = repro.results("reports/store")     # or only reads a store
    results.verdicts, results.effects, results.trials, results.curves
    results.draw(ax, "curves")                   # on axes of yours

Each name is imported when it is first used, and torch when something is trained.
"""

__all__ = ["Claim", "ReproError", "Results", "load", "plan", "results", "run", "validate"]

__version__ = "0.1.0"

TYPE_CHECKING = False  # as checkers of types know it, without waiting for `typing`
if TYPE_CHECKING:
    from repro.api import Claim, ReproError, Results, load, plan, results, run, validate
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from repro import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
