"""``crpbot dev`` and ``crpbot sandbox serve`` as real processes: what they serve, and that nothing is left of them."""

import signal
import socket
from pathlib import Path

import httpx
import psutil
from route.crpbot import Crpbot, answer, free_ports


def test_dev_serves_ui_reports_and_mlflow_and_leaves_nothing_behind(tmp_path: Path) -> None:
    crpbot = Crpbot(tmp_path / "state")
    reports = crpbot.home / "reports"
    reports.mkdir(parents=True)
    (reports / "BTC-USD_2023-11-29.html").write_text("<p>a verdict</p>")
    (tmp_path / "secret.html").write_text("not a report")
    port = free_ports(3)
    ui, shown, mlflow = (f"http://127.0.0.1:{port + i}" for i in range(3))
    with crpbot.serving("dev", "--port", str(port)) as server:
        assert answer(f"{ui}/server_info", server).json()["dagster_version"]
        assert answer(f"{shown}/BTC-USD_2023-11-29.html", server).text == "<p>a verdict</p>"
        assert 'href="BTC-USD_2023-11-29.html"' in httpx.get(shown).text
        assert httpx.get(f"{shown}/..%2fsecret.html").status_code == 404
        assert answer(f"{mlflow}/health", server).text == "OK"
        started = psutil.Process(server.pid).children(recursive=True)
        assert len(started) >= 4  # Dagster, its web server, its daemon, MLflow
        told = next(p for p in started if "dagster_webserver" in " ".join(p.cmdline())).environ()
        assert (told["CRPBOT_UI_URL"], told["CRPBOT_REPORTS_URL"], told["CRPBOT_MLFLOW_UI_URL"]) == (ui, shown, mlflow)
        assert not any("postgresql" in word for p in started if "mlflow" in p.cmdline() for word in p.cmdline())
        assert (crpbot.home / "postgres" / "postmaster.pid").exists()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=120) == 0
        _, alive = psutil.wait_procs(started, timeout=10)
        assert alive == []
    assert not (crpbot.home / "postgres" / "postmaster.pid").exists()


def test_dev_does_not_start_on_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = Crpbot(tmp_path / "state")("dev", "--port", str(port - 1))
    assert done.returncode == 2 and f"port {port} is in use" in done.stderr
    assert not (tmp_path / "state" / "postgres").exists()


def test_the_sandbox_serves_alone_until_ctrl_c(tmp_path: Path) -> None:
    with Crpbot(tmp_path / "state").serving("sandbox", "serve", "--port", "0") as server:
        assert server.stdout is not None
        name, _, url = server.stdout.readline().strip().partition("=")
        assert name == "export CRPBOT_SANDBOX_URL"
        day = f"{url}/v1/coinbase/trades/2023/11/20/BTC-USD.csv.gz"
        assert answer(day, server).status_code == 200
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
