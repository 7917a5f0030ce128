"""What `make bench` runs (`python -m benchmarks.run`): ratios measured side by side, because machines are noisy."""
