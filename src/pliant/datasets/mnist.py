"""MNIST: 60,000 + 10,000 grey images of handwritten digits, 28 x 28 pixels.

References:
    LeCun, Bottou, Bengio and Haffner, `Gradient-based learning applied to document recognition
    <https://doi.org/10.1109/5.726791>`_, Proceedings of the IEEE 1998.
"""

from ._idx import read_folder as read
from ._idx import write_folder as write
from ._images import Images
from ._sources import Remote, fetched

__all__ = ["SYNTHETIC", "load", "read", "write"]

SYNTHETIC = {"classes": 10, "train": 200, "test": 20, "side": 28, "channels": 1}

_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FILES = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def load() -> Images:
    """The data set from the cache, after a download if need be."""
    return read(fetched("mnist", {file: Remote(_URL + file, sha256) for file, sha256 in _FILES.items()}))
