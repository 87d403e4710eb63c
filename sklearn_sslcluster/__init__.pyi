from . import (
    auto as auto,
)
from . import (
    datasets as datasets,
)
from . import (
    deep as deep,
)
from . import (
    discovery as discovery,
)
from . import (
    inspection as inspection,
)
from . import (
    metrics as metrics,
)
from . import (
    mixture as mixture,
)
from . import (
    model_selection as model_selection,
)
from . import (
    quantization as quantization,
)
from . import (
    sdp as sdp,
)
from . import (
    utils as utils,
)

__all__ = [
    "auto",
    "datasets",
    "deep",
    "discovery",
    "inspection",
    "metrics",
    "mixture",
    "model_selection",
    "quantization",
    "sdp",
    "utils",
]

__version__: str
