"""``crpbot alerts test``: does a message arrive? Not here: when one is sent (``sensors/``)."""

import json

import typer

from crpbot_dagster.cli.terminal import FAILED, AsJson, configured, stop

alerts = typer.Typer(help="Who is told.", no_args_is_help=True, rich_markup_mode=None)


@alerts.callback()
def _alerts() -> None:
    """Make one verb a group: typer would take it for the whole program."""


@alerts.command()
def test(as_json: AsJson = False) -> None:
    """Send a test message to every address of CRPBOT_ALERT_URLS; without one it goes to the log file.

    Example: crpbot alerts test
    """
    from crpbot_dagster.resources.alerts import Alerts, NotDelivered, send_test

    config = configured()
    log_file = str(config.home_dir / "alerts.jsonl")
    try:
        send_test(Alerts(config.alert_urls, log_file))
    except NotDelivered as error:
        stop(str(error), FAILED)
    where = f"to {len(config.alert_urls)} addresses" if config.alert_urls else f"to {log_file} (no CRPBOT_ALERT_URLS)"
    typer.echo(json.dumps({"ok": True, "sent": where}) if as_json else f"sent {where}")
