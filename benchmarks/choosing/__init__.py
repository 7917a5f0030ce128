"""Which method and which detector: the runs (`python -m benchmarks.choosing`), and what is read off them."""
