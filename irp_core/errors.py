"""The one exception that means "the input is wrong": the command line prints it as one sentence."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input from outside: a file, a key, an option.

    The message is one sentence that names the file or key, what was expected and what was found.

    Example:
        >>> raise InputError("params.yaml: training.epochs must be greater than 0. Got -1.")
        Traceback (most recent call last):
        irp_core.errors.InputError: params.yaml: training.epochs must be greater than 0. Got -1.
    """
