"""What every result is written with: the command that made it, versions, hardware and date."""

import datetime
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from marlx.host import provenance

RESULTS = Path(__file__).parent / "results"


def command() -> str:
    """What this process was started with, as a shell takes it."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def write(path: Path, **found: Any) -> None:
    """Writes a JSON file; call it when JAX has started, since it names the devices."""
    record = {
        "command": command(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
