"""Make `make_history` importable wherever this folder lies, in importlib mode as well."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
