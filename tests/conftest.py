"""JAX and Hypothesis as every test wants them; JAX has not started when this runs."""

import hypothesis
import jax

from vecsim import device

device.configure(2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)

hypothesis.settings.register_profile(
    "vecsim", deadline=None, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.load_profile("vecsim")
