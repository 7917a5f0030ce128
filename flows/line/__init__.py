"""The flows of a line: poll its inbox, carry out a round, put a version into service. Each can be deployed alone."""
