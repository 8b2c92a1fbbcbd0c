"""The markets that the laws are asked of; seeds come from the tests' common conftest."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SEED
from laws.every_source import everything as with_every_source
from laws.every_source import filled, thin_buckets

from crpbot_dagster.assets.features.inputs import Inputs

FIRST = 400  # the row whose influence `whole` is made to show at its far end


@pytest.fixture(scope="session")
def everything(bars, other_bars) -> Inputs:
    """Three days of the sandbox's bars with every other source drawn beside them, nulls included."""
    return with_every_source(bars, other_bars, np.random.default_rng(SEED))


@pytest.fixture(scope="session")
def whole(everything: Inputs) -> Inputs:
    """1,860 minutes without a null, and buckets so thin that VPIN reads back as far as it may."""
    made = filled(everything).rows(1000, 2860)
    return replace(made, buckets=thin_buckets(made.trades["ts"], FIRST, np.random.default_rng(SEED)))
