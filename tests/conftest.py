"""JAX and Hypothesis as every test wants them; JAX has not started when this runs."""

from pathlib import Path

import hypothesis
import jax
import pytest

from vecsim import device

device.configure(2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)

hypothesis.settings.register_profile(
    "vecsim", deadline=None, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.load_profile("vecsim")


def pytest_terminal_summary(terminalreporter, config) -> None:
    """What a plain `pytest` leaves out, and how to run it; `-q` hides pytest's own header."""
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        here = Path(__file__).parent
        left = " ".join(sorted({f"tests/{file.parent.name}" for file in here.glob("*/test_*.py")}))
        terminalreporter.write_line(f"not run: {left}; to run them: python -m pytest {left}")
