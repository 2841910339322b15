"""`python -m marlx` is the command `marlx`."""

from marlx.host.cli import main

raise SystemExit(main())
