"""Speed and size, measured: `python -m benchmarks [NAME ..] [--json FILE]`; `--help` lists the names."""
