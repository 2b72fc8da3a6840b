"""`python -m voip_stack`: the command line."""

from voip_stack.cli import main

main()
