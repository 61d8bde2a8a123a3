"""``python -m safety_proxy`` is ``safety-proxy``."""

from safety_proxy.cli import main

if __name__ == "__main__":
    main()
