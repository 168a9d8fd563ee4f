# CPython 3.15 and a newer systemd, of Debian's testing suite.
suite=forky packages=python3.15-venv,systemd python=python3.15
