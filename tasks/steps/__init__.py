"""One Prefect task per step of a refinement: prepare, extract, train, score, decide, evaluate, operating threshold."""
