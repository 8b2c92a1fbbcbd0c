"""The one training loop of every network, and a trained network that predicts.

Not here: the networks (one file each), the rows they see and their calibration (``families.py``).
Sources: AdamW: Loshchilov & Hutter, ICLR 2019; clipping: Pascanu, Mikolov & Bengio, ICML 2013;
early stopping: Prechelt (1998), "Early Stopping - But When?".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crpbot_dagster.assets.models.dataset import MINUTES_A_DAY, Floats, Ints, Samples, complete

Build = Callable[[int, Mapping[str, float]], nn.Module]


@dataclass(frozen=True)
class Loop:
    """How a network is trained; every number comes from the settings."""

    sequence: int  # minutes
    batch: int
    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int
    clip_norm: float
    lr_factor: float
    lr_patience: int
    seed: int
    threads: int
    device: str  # auto, cpu or cuda


@dataclass(frozen=True)
class Network:
    """A trained network: its weights float32 by name, and what builds it again."""

    build: Build
    weights: Mapping[str, NDArray[np.float32]]
    settings: Mapping[str, float]
    width: int
    sequence: int
    threads: int

    def logits(self, x: Floats, minutes: Ints) -> Floats:
        """Return the logit of each row of scaled inputs, NaN where its sequence has a gap or a missing input.

        On the CPU, a UTC day at a time: the same minute meets the same neighbours in its batch, so a day predicted
        alone gives the same bits as within a month.

        Parameters
        ----------
        x : float64[m, inputs], scaled
        minutes : int64[m], since the epoch, rising; one symbol
        """
        network = self.build(self.width, self.settings)
        network.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in self.weights.items()})
        network.eval()
        torch.set_num_threads(self.threads)
        whole = np.flatnonzero(complete(minutes, x, self.sequence))
        found = np.full(len(x), np.nan)
        if len(whole) == 0:
            return found
        windows = sequences(x, self.sequence, "cpu")
        day = minutes[whole] // MINUTES_A_DAY
        with torch.inference_mode():
            for rows in np.split(whole, np.flatnonzero(np.diff(day)) + 1):
                found[rows] = network(batch_of(windows, torch.from_numpy(rows))).numpy()
        return found

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the weights by name."""
        return dict(self.weights)


def load(
    build: Build, tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, float], width: int, sequence: int
) -> Network:
    """Return the network that ``tensors`` describes.

    Raises
    ------
    ValueError
        A weight is missing, unknown or has another shape than the settings give it.
    """
    expected = {name: tuple(w.shape) for name, w in build(width, settings).state_dict().items()}
    shapes = {name: w.shape for name, w in tensors.items()}
    if shapes != expected:
        off = sorted(n for n in shapes.keys() | expected.keys() if shapes.get(n) != expected.get(n))
        raise ValueError(f"weights {', '.join(off)} are not those of a network of {dict(settings)}")
    return Network(build, tensors, settings, width, sequence, int(settings["torch_threads"]))


def sequences(x: Floats, sequence: int, device: str) -> Tensor:
    """Return every ``sequence`` rows in a row as a view of one float32 array: (m - sequence + 1, inputs, minutes)."""
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device).unfold(0, sequence, 1)


def batch_of(windows: Tensor, rows: Tensor) -> Tensor:
    """Return the sequences that end at ``rows`` of the array: (batch, minutes, features)."""
    return windows[rows - windows.shape[2] + 1].transpose(1, 2)


def device_of(name: str) -> str:
    """Return ``cuda`` or ``cpu``; ``auto`` takes a GPU when there is one."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def fit_network(
    build: Build, fit: Samples, stop: Samples, settings: Mapping[str, float], loop: Loop
) -> tuple[Network, tuple[dict[str, float], ...]]:
    """Train until the loss on the stop days no longer falls; return the best epoch's network and every epoch's numbers.

    The same arguments give the same weights, bit for bit, on the same kind of machine.

    Parameters
    ----------
    fit, stop : Samples with scaled inputs, whose rows end whole sequences; ``stop`` is purged from ``fit``
    settings : what ``build`` needs

    Returns
    -------
    Network, and one dict per epoch: epoch, fit_loss, stop_loss, stop_accuracy_frac, learning_rate
    """
    device = device_of(loop.device)
    torch.set_num_threads(loop.threads)
    torch.use_deterministic_algorithms(device == "cpu")  # CUDA's LSTM has no deterministic form of everything
    torch.backends.cudnn.deterministic = True
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed)
        network = build(fit.inputs.shape[1], settings).to(device)
        best, history = _epochs(network, fit, stop, loop, device)
    weights = {name: w.cpu().numpy() for name, w in best.items()}
    return Network(build, weights, settings, fit.inputs.shape[1], loop.sequence, loop.threads), history


def _epochs(
    network: nn.Module, fit: Samples, stop: Samples, loop: Loop, device: str
) -> tuple[dict[str, Tensor], tuple[dict[str, float], ...]]:
    windows = sequences(fit.inputs, loop.sequence, device)
    rows, y = _on(device, fit)
    optimiser = torch.optim.AdamW(network.parameters(), loop.learning_rate, weight_decay=loop.weight_decay)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=loop.lr_factor, patience=loop.lr_patience)
    criterion = nn.BCEWithLogitsLoss()
    best: dict[str, Tensor] = {}
    best_loss, waited, history = np.inf, 0, []
    for epoch in range(1, loop.epochs + 1):
        network.train()
        total, rate = 0.0, float(optimiser.param_groups[0]["lr"])
        for chosen in torch.randperm(len(rows)).to(device).split(loop.batch):
            optimiser.zero_grad()
            loss = criterion(network(batch_of(windows, rows[chosen])), y[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), loop.clip_norm)
            optimiser.step()
            total += float(loss.detach()) * len(chosen)
        stop_loss, accuracy = _score(network, windows, stop, loop.batch, device)
        schedule.step(stop_loss)
        numbers = (epoch, total / len(rows), stop_loss, accuracy, rate)
        names = ("epoch", "fit_loss", "stop_loss", "stop_accuracy_frac", "learning_rate")
        history.append(dict(zip(names, numbers, strict=True)))
        if stop_loss < best_loss:
            best_loss, waited = stop_loss, 0
            best = {name: w.detach().clone() for name, w in network.state_dict().items()}
            continue
        waited += 1
        if waited >= loop.patience:
            break
    return best, tuple(history)


def _on(device: str, samples: Samples) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(samples.rows).to(device), torch.from_numpy(samples.y.astype(np.float32)).to(device)


def _score(network: nn.Module, windows: Tensor, stop: Samples, batch: int, device: str) -> tuple[float, float]:
    """Return log-loss and accuracy on the stop samples."""
    rows, y = _on(device, stop)
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(batch_of(windows, part)) for part in rows.split(max(batch, 1_024))])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y)
        return float(loss), float(((logits > 0) == (y > 0.5)).float().mean())
