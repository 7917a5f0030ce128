"""The paper's tables and figures, and its own numbers beside ours: data frames in, data frames and figures out.

Nothing here trains, reads an image or knows where a result is kept.
"""
