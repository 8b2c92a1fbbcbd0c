"""The markets that the laws are asked of; seeds come from the tests' common conftest."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SEED
from laws.every_source import everything as with_every_source
from laws.every_source import filled, interrupted, long_market, thin_buckets

from crpbot_dagster.assets.features.inputs import Inputs

FIRST = 400  # the row whose influence `whole` is made to show at its far end


@pytest.fixture(scope="session")
def undisturbed(bars, other_bars) -> Inputs:
    """Three days of the sandbox's bars with every other source drawn beside them, nulls included."""
    return with_every_source(bars, other_bars, np.random.default_rng(SEED))


@pytest.fixture(scope="session")
def everything(undisturbed: Inputs) -> Inputs:
    """The same with slow sources that are late and absent on the second day."""
    return interrupted(undisturbed)


@pytest.fixture(scope="session")
def whole(undisturbed: Inputs) -> Inputs:
    """1,860 minutes without a null, and buckets so thin that VPIN reads back as far as it may."""
    made = filled(undisturbed).rows(1000, 2860)
    return replace(made, buckets=thin_buckets(made.trades["ts"], FIRST, np.random.default_rng(SEED)))


@pytest.fixture(scope="session")
def long(bars, other_bars) -> Inputs:
    """45 days: more than there are daily features."""
    return long_market(bars, other_bars, 15, np.random.default_rng(SEED))
