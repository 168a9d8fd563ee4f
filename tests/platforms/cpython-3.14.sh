# CPython 3.14, of Debian's testing suite.
suite=forky packages=python3.14-venv python=python3.14
