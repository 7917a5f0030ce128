"""`python -m flows.cli.main` is the command `irp`."""

from flows.cli.main import main

main()
