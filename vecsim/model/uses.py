"""Which parts of its view an adversary's answers depend on, read off its own `answer`."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vecsim.errors import raised_by
from vecsim.types import Adversary, View


@lru_cache(maxsize=256)
def uses(adversary: Adversary) -> frozenset[str]:
    """Names of the parts of its view (and `memory`) that an adversary's answers depend on.

    A part that changes only a memory counts where the answers depend on the memory. A mixture
    depends on all that its kinds depend on. ConfigError where `answer` raises.
    """
    if len(adversary.kinds) > 1:
        return frozenset().union(*map(uses, adversary.kinds))

    def answer(adversary: Adversary, seen: View, memory):
        mixes, after = adversary.answer(seen, memory)
        return jnp.asarray(mixes), jnp.asarray(after)

    parts: list[Any] = [np.float32(0) if "coin" in name else np.int32(1) for name in View._fields]
    with raised_by(adversary, "answer"):
        memory = np.zeros(() if adversary.memories == 1 else adversary.memories, np.int32)
        jaxpr = jax.make_jaxpr(answer)(adversary, View(*parts), memory).jaxpr
    names = (*View._fields, "memory")

    def looked_at(output: int) -> set[str]:
        needed = _needed(jaxpr, [i == output for i in range(2)])
        # The inputs before those are the adversary's own numbers.
        return set(compress(names, needed[-len(names) :]))

    found = looked_at(0)
    return frozenset(found | looked_at(1) if "memory" in found else found)


def _needed(jaxpr: Any, outputs: Sequence[bool]) -> list[bool]:
    """Whether each input of a traced program may affect one of the wanted outputs.

    outputs: whether each output is wanted.
    """
    wanted = {id(v) for v, needed in zip(jaxpr.outvars, outputs, strict=True) if needed}
    for step in reversed(jaxpr.eqns):
        out = [id(v) in wanted for v in step.outvars]
        if not any(out):
            continue
        inputs = [True] * len(step.invars)
        inner = step.params.get("jaxpr")
        if step.primitive.name in ("jit", "pjit") and hasattr(inner, "jaxpr"):
            inputs = _needed(inner.jaxpr, out)
        wanted |= {id(v) for v, needed in zip(step.invars, inputs, strict=True) if needed}
    return [id(v) in wanted for v in jaxpr.invars]
