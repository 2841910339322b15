"""Results of the papers, each from a command, with the figures that came out."""
