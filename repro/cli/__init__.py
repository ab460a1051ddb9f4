"""The command line. Results go to stdout, messages to stderr. May import every room.

Every command imports what it needs when it runs, so that `repro --help` answers at once.
"""

import click

from repro import __version__
from repro.cli.claims import list_, new, schema, show, trust, validate
from repro.cli.command import group
from repro.cli.data import data
from repro.cli.report import export, publish, report
from repro.cli.run import plan, run, status
from repro.cli.setup import doctor, here
from repro.cli.store import diff, explain, merge, verify, why

EXIT_CODES = """
\b
Exit codes:
  0    decided as claimed (at smoke scale: everything ran)
  2    usage or claim file
  3    not reproduced, direction only or gap only; stores that differ
  4    inconclusive, undertrained, or nothing measured
  5    invalid: a check of the measurement failed; or a fault of data, machine or
       store, or a bug (`repro explain CODE`)
  130  interrupted; the same command continues
  141  the reader of standard output has gone, such as `| head`
"""


TASKS = {
    "Get started": (list_, show, new, validate, doctor),
    "Run": (plan, run, status, data, trust),
    "Read": (report, why, explain),
    "Share": (publish, export, diff, merge, verify),
    "Maintain": (schema,),
}


@group(
    epilog=EXIT_CODES,
    tasks=TASKS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="repro")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Test the claims of a paper with controlled, multi-seed training runs.

    \b
    repro list                              the claims
    repro run architecture                  an exact claim, in seconds
    repro run relu_speedup --scale smoke    a smoke test on embedded data, in a minute
    repro run relu_speedup                  the claim itself, on real images
    repro report                            report/report.html
    """  # noqa: D301 - click wants the character itself
    if ctx.invoked_subcommand is None:
        with here.make_context("here", [], parent=ctx) as inner:
            here.invoke(inner)
