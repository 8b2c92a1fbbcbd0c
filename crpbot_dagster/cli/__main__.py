"""``python -m crpbot_dagster.cli``: the same as ``crpbot``."""

from crpbot_dagster.cli import app

if __name__ == "__main__":
    app()
