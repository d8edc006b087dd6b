import jax
import pytest


@pytest.fixture(autouse=True)
def compiled_in_a_hurry():
    """What is compiled is not made fast: tiny versions of recipes do little else than compile."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
