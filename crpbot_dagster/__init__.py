"""crpbot-dagster: a data platform for crypto quants, from the tick to the verdict.

``import crpbot_dagster as crp`` gives ``crp.read`` and ``crp.sql``; they are loaded when first used, because
every module of the platform imports this one.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crpbot_dagster.reading import read, sql

__all__ = ["read", "sql"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from crpbot_dagster import reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
