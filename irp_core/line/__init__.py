"""A line that is retrained: its definition, the ledger of its inbox, its rounds. No network, no tracker."""
