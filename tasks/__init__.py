"""One Prefect task per verb; the only place that knows Prefect, MLflow and DVC.

May import `irp_core`, never `flows`. Tasks pass paths, ids and small tables, never tensors or models.
"""
