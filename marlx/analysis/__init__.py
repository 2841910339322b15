"""What is made of results: statistics over seeds, and pictures. Knows nothing of files."""
