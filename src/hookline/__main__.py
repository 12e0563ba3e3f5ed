"""`python -m hookline`: the command line, also where its script is on no path."""

from hookline.cli.main import main

if __name__ == "__main__":
    main()
