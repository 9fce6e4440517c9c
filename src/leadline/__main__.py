"""``python -m leadline``: the command line, as launchers of several processes start it."""

from leadline.cli import main

if __name__ == "__main__":
    main()
