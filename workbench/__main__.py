"""`python -m workbench`: the same as `wb`."""

from workbench.cli import main

if __name__ == "__main__":
    main()
