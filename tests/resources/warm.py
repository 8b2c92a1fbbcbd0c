"""Loaded once by the server that the kill test's processes are forked from: what takes them seconds and no thread."""

import great_expectations as gx
import pandas as pd
import tardis_dev  # noqa: F401
from resources import landing  # noqa: F401

from crpbot_dagster.assets.checks import _batch_definition

gx_batch = _batch_definition().get_batch({"dataframe": pd.DataFrame({"excess": [0.0]})})
gx_batch.validate(gx.expectations.ExpectColumnMaxToBeBetween(column="excess", max_value=0))
