"""The same network on a GPU: it is used when there is one, and learns and predicts as on the CPU."""

import numpy as np
import pytest
import torch

from crpbot_dagster.assets.models import lstm
from crpbot_dagster.assets.models.dataset import Samples
from crpbot_dagster.assets.models.train import Loop, batch_of, device_of, fit_network, sequences

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
SHAPE = {"lstm_layers": 2, "lstm_hidden": 32, "lstm_dropout": 0.0, "torch_threads": 2}


def memory(n: int) -> Samples:
    rng = np.random.default_rng(7)
    x, rows = rng.normal(size=(n, 4)), np.arange(30, n)
    ts = np.datetime64("2024-01-01", "us") + rows * np.timedelta64(1, "m")
    return Samples(np.arange(n), x, rows, (x[rows - 10, 0] > 0).astype(np.int8), ts, ts)


def loop(device: str) -> Loop:
    return Loop(30, 128, 3e-3, 0.0, 12, 4, 1.0, 0.5, 2, 7, 2, device)


def test_auto_takes_the_gpu() -> None:
    assert device_of("auto") == "cuda" and device_of("cpu") == "cpu"


def test_a_network_trained_on_the_gpu_predicts_on_the_cpu_as_on_the_gpu() -> None:
    both = memory(6_000)
    fit, stop = both.take(both.rows < 5_000), both.take(both.rows >= 5_000)
    network, history = fit_network(lstm.build, fit, stop, SHAPE, loop("cuda"))
    on_cpu = network.logits(both.inputs, both.minutes)[stop.rows]
    built = lstm.build(4, SHAPE).cuda().eval()
    built.load_state_dict({n: torch.from_numpy(w) for n, w in network.weights.items()})
    with torch.inference_mode():
        windows = sequences(both.inputs, 30, "cuda")
        on_gpu = built(batch_of(windows, torch.from_numpy(stop.rows).cuda())).cpu().numpy()
    assert np.allclose(on_cpu, on_gpu, atol=2e-3)
    assert ((on_cpu > 0) == stop.y).mean() > 0.95, history[-1]


def test_the_first_epoch_is_the_cpu_s_within_rounding() -> None:
    both = memory(3_000)
    fit, stop = both.take(both.rows < 2_500), both.take(both.rows >= 2_500)
    first = {d: fit_network(lstm.build, fit, stop, SHAPE, loop(d))[1][0] for d in ("cpu", "cuda")}
    assert first["cpu"]["fit_loss"] == pytest.approx(first["cuda"]["fit_loss"], abs=2e-3)
    assert first["cpu"]["stop_loss"] == pytest.approx(first["cuda"]["stop_loss"], abs=2e-3)
