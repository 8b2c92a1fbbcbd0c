"""How good a model is, on days it never saw."""
