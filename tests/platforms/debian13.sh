# Debian 13, with its CPython 3.13 and systemd.
suite=trixie packages=python3-venv,systemd,supervisor
