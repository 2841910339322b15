"""What every result is written with: the command that made it, versions, hardware and date."""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

from marlx.host import provenance

RESULTS = Path(__file__).parent / "results"


def write(path: Path, **found: Any) -> None:
    """Writes a JSON file; call it when JAX has started, since it names the devices."""
    record = {
        "command": "python " + " ".join(sys.orig_argv[1:]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
