"""Who leaves a training set: what is isolated goes, what has company is asked about, and what is said at the end.

Arrays in, frozen answers out. Labels never come in here but as a person's answers.
"""
