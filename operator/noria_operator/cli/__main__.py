"""`python -m noria_operator.cli`: what `kubectl noria` runs."""

from __future__ import annotations

from noria_operator.cli.main import main

if __name__ == "__main__":
    main()
