"""`python -m hanlin.cli`: the same as `hanlin`."""

from hanlin.cli.app import main

main()
