"""`python -m laraq` is the program `laraq`."""

from laraq.cli import main

if __name__ == "__main__":
    main()
