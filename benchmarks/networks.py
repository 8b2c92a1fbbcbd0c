"""One epoch of the LSTM in our training loop, beside a plain loop over a tensor of all sequences in memory."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Line, Size, race, shown
from crpbot_dagster.assets.models.dataset import Samples, input_names
from crpbot_dagster.assets.models.families import LSTM_LOOP
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables.features import V5

STOP_SAMPLES = 64
PROFILES = {
    "2 × 128, batch 64": {"lstm_layers": 2, "lstm_hidden": 128, "lstm_dropout": 0.3, "lstm_batch": 64},
    "1 × 32, batch 256": {"lstm_layers": 1, "lstm_hidden": 32, "lstm_dropout": 0.0, "lstm_batch": 256},
}


def sequences_of(n: int, sequence: int, width: int) -> Samples:
    """Return ``n`` samples of noise, one a minute, each reading ``sequence`` minutes."""
    rng = np.random.default_rng(7)
    minutes = np.arange(n + sequence - 1)
    nowhen = np.zeros(n, dtype="datetime64[us]")
    y = rng.integers(0, 2, n).astype(np.int8)
    return Samples(minutes, rng.standard_normal((len(minutes), width)), minutes[sequence - 1 :], y, nowhen, nowhen)


def lines(size: Size, folder: Path) -> Iterator[Line]:
    import torch
    from torch import nn

    from crpbot_dagster.assets.models import lstm, train

    config = Settings().model_dump()
    loop = train.Loop(
        **{name.removeprefix("lstm_"): config[name] for name in LSTM_LOOP} | {"epochs": 1},
        seed=config["seed"],
        threads=size.threads,
        device="cpu",
    )
    width = len(input_names(V5))
    fit = sequences_of(size.samples, loop.sequence, width)
    stop = fit.take(np.arange(size.samples) < STOP_SAMPLES)
    whole = train.sequences(fit.inputs, loop.sequence, "cpu").transpose(1, 2).contiguous()  # (n, minutes, features)
    y = torch.from_numpy(fit.y.astype(np.float32))

    def plain(settings: dict[str, float]) -> None:
        torch.set_num_threads(loop.threads)
        torch.use_deterministic_algorithms(False)
        network = lstm.build(width, settings)
        optimiser = torch.optim.AdamW(network.parameters(), loop.learning_rate, weight_decay=loop.weight_decay)
        criterion = nn.BCEWithLogitsLoss()
        batch = int(settings["lstm_batch"])
        for x, truth in zip(whole.split(batch), y.split(batch), strict=True):
            optimiser.zero_grad()
            criterion(network(x), truth).backward()
            nn.utils.clip_grad_norm_(network.parameters(), loop.clip_norm)
            optimiser.step()

    for name, settings in PROFILES.items():
        own = replace(loop, batch=int(settings["lstm_batch"]))
        ours, peer = race(
            partial(train.fit_network, lstm.build, fit, stop, settings, own), partial(plain, settings), times=size.times
        )
        yield Line(
            f"one epoch of the LSTM {name}: {size.samples:,} × {loop.sequence} × {width}, CPU, {loop.threads} threads",
            f"{shown(ours)} ({size.samples / ours:,.0f} samples/s) from {4 * fit.inputs.size / 2**20:.2g} MiB",
            f"plain loop over a tensor of {4 * whole.numel() / 2**20:.2g} MiB "
            f"{shown(peer)} ({size.samples / peer:,.0f} samples/s)",
            ours / peer,
        )
