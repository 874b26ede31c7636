"""`python -m greenlane` is `greenlane`."""

from greenlane.cli import main

main()
