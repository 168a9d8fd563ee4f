# The last CPython 3.13, of Debian's testing suite.
suite=forky packages=python3.13-venv python=python3.13
