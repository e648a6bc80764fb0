"""Where vecsim's own files are: configuration and figure scripts."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def root(name: str) -> Path:
    """The folder `conf` or `figures`: inside the installed package, or beside it in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
