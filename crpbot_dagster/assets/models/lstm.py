"""The LSTM: the last minutes in, one logit out.

Not here: the training loop (``train.py``), which minutes make a sequence (``dataset.py``).
Source: Hochreiter & Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8), 1735-1780.
"""

from collections.abc import Mapping

from torch import Tensor, nn


class Lstm(nn.Module):
    """``layers`` stacked LSTM layers of ``hidden`` units, dropout between them, a linear head on the last minute."""

    def __init__(self, width: int, layers: int, hidden: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0  # PyTorch warns of a dropout that has nothing to act between
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, dropout=between)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit of "up" of each sequence; no sigmoid: the loss and the calibration apply it once."""
        seen, _ = self.lstm(x)  # (batch, minutes, features) -> (batch, minutes, hidden)
        return self.head(seen[:, -1]).squeeze(1)  # (batch, hidden) -> (batch,)


def build(width: int, settings: Mapping[str, float]) -> Lstm:
    """Return the untrained network of ``settings`` (``lstm_layers``, ``lstm_hidden``, ``lstm_dropout``)."""
    return Lstm(width, int(settings["lstm_layers"]), int(settings["lstm_hidden"]), settings["lstm_dropout"])
