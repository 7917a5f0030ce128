"""From an image's bytes to numbers: decoding, views, a frozen network's features, and the store that keeps them.

Knows no detector: what a detector sees is a `FeatureSet`.
"""
