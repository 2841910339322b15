"""What is made of results: statistics over seeds, and pictures. Knows tables and arrays, nothing of training."""
