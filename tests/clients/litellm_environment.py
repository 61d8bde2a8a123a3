"""Where `litellm` is installed: beside the environment of the tests, and apart from it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

BIN: Final = Path(sys.prefix) / "litellm" / "bin"
PYTHON: Final = BIN / "python"
MISSING: Final = f"{PYTHON} is missing: `make test-slow` installs the extra `litellm` there"
VARIABLES: Final = {
    **os.environ,
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else importing it fetches a list of prices
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # and one of headers
}
