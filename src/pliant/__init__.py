"""pliant keeps neural networks able to learn: plasticity for any JAX network and any optax loop.

The public names are listed in `__init__.pyi`. Each is imported when it is first used, so that `import pliant` takes no
time, and the library does not wait for the packages of the suite.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
