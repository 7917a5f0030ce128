"""Everything DVC: each refined training set as a version of its own; and what else a run's origin consists of."""
