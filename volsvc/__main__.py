"""`python -m volsvc`, the same as the console script."""

from volsvc.cli.main import main

if __name__ == "__main__":
    main()
