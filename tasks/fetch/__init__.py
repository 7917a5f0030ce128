"""Whatever comes over the network: public data sets and backbone weights, hash-checked."""
