"""Speed and size, measured: `python -m benchmarks [throughput|seeds|memory|compile] [--json FILE]`."""
