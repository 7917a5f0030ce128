"""Many images: a whole refinement of made-up ones (`python -m benchmarks.scale`), real ones on one and two workers."""
