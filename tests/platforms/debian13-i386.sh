# 32-bit x86. The index of Python packages has no wheels for it of some of Sanic's dependencies: Debian's own are used.
suite=trixie arch=i386 venv_options=--system-site-packages
packages=python3-venv,python3-pydantic,python3-httptools,python3-ujson,python3-multidict,python3-websockets,python3-aiofiles,python3-psutil,python3-uvloop
[ "$(uname -m)" = x86_64 ] || reason="it runs on x86-64 alone"
