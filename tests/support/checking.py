"""How signatures are checked in the tests: types by beartype, shapes by jaxtyping."""

import jax
import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

checked = beartype(
    conf=BeartypeConf(
        is_pep484_tower=True,  # where a float is asked for, an integer will do
        # Outside of compiled functions NumPy's arrays will do, and where nothing is computed the shapes alone.
        hint_overrides=FrozenDict({jax.Array: jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct}),
    )
)
