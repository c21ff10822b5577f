"""`python -m vislab`."""

from vislab.cli import main

main()
