"""The method itself: policies, decision rounds, the loop, reviewers' decisions. Scores in, decisions out.

Knows no file: a run's folder is `irp_core.run`.
"""
