"""Stake from a file: a number for each node."""

from typing import ClassVar

import equinox as eqx
import numpy as np

from vecsim.results.files import file_digest
from vecsim.stakes.reading import read
from vecsim.stakes.stake import Weighted


class File(Weighted):
    """Nodes hold in proportion to the numbers of a file; `vecsim.stakes.reading` says how it is
    read.

    The file is read once, when this is made. Its numbers are part of it from then on, so that it
    can be sent where there is no such file, and stands for the same after the file has changed.

    path: of the file, from the working folder.
    column: name of the column that has the numbers, where there are several columns of numbers.
    """

    identity = "stakes.file.File"
    reads: ClassVar[bool] = True

    path: str = ""
    column: str = ""
    numbers: bytes = eqx.field(init=False, repr=False)  # float64, little-endian, the largest first

    def __post_init__(self):
        self.numbers = read(self.path, self.column)

    def parameters(self):
        """The fields, with a digest of the numbers instead of where they come from."""
        fields = super().parameters()
        kept = {name: fields[name] for name in fields if name not in ("path", "column")}
        return kept | {"numbers": file_digest(self.numbers)}

    @property
    def nodes(self):
        """How many numbers there are."""
        return len(self.numbers) // 8

    def weights(self, n):
        """The numbers, the largest first."""
        return np.frombuffer(self.numbers, "<f8")
