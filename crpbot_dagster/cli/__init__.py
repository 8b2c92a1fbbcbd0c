"""``crpbot``: thin verbs over Dagster. Every verb works on the same instance, so the UI shows what it did.

One module per family of verbs; this one lists them. Not here: what a run needs (``runs.py``), what is promoted
(``assets/promotion``).
"""

import typer

from crpbot_dagster.cli import alerts, analyse, compare, doctor, explain, models, run, serve, sql

app = typer.Typer(
    help="crpbot: market data in, honest verdicts out. Every verb drives Dagster; `crpbot dev` opens its UI.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
VERBS = (
    *(run.demo, run.run, run.backfill),
    *(models.train, models.evaluate, models.promote, models.report, models.rollback, compare.compare),
    *(analyse.analyse, sql.sql, explain.explain, doctor.doctor, serve.dev),
)
for verb in VERBS:
    app.command()(verb)
app.add_typer(serve.sandbox, name="sandbox")
app.add_typer(alerts.alerts, name="alerts")
