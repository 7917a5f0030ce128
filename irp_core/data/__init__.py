"""What goes in: folders of images become one table, the manifest, and contaminated ones for experiments.

Reads files and draws by seed; knows no network, no detector and no run.
"""
