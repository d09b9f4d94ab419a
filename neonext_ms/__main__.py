"""`python -m neonext_ms`: the same as the `neonext` command."""

from neonext_ms.cli import main

if __name__ == "__main__":
    main()
