"""The commands of the shell, a file each: `arguments(parser)`, and `run(arguments)` -> exit code."""
