"""`python -m flows.cli.main` is the command `irp`."""

from flows.cli.main import main

if __name__ == "__main__":  # not in a process that it starts
    main()
