"""`python -m flows.cli` is the command `irp`."""

from flows.cli.main import main

main()
