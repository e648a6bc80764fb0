"""What is compared between stores."""

from pathlib import Path

from command import files


def chunks(store: Path) -> dict[str, bytes]:
    """Every file of a store but for the attributes, which tell the time, and their checksum."""
    told = ("zarr.json", "vecsim/checksums")
    return {name: data for name, data in files(store).items() if name not in told}
