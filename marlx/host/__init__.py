"""The only wing with input and output: the outer loop, the run directory, the shell."""
