"""How any method runs, compiled. Knows an algorithm and an environment only by their protocols; no I/O."""
