"""A reverse proxy of Debian's in front of a server, with connections to it that it keeps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .box import Box
from .census import wait_until
from .http import HOST, can_bind

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app {{
        server {host}:{port};
        keepalive 32;
    }}
    server {{
        listen {host}:{own};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 256
defaults
    mode http
    timeout connect 10s
    timeout client 30s
    timeout server 30s
    http-reuse safe
frontend public
    bind {host}:{own}
    default_backend app
backend app
    server one {host}:{port}
"""

PROXIES = {
    "nginx": (NGINX, ["nginx", "-c"]),
    "haproxy": (HAPROXY, ["haproxy", "-db", "-f"]),
}


def put_in_front(name: str, port: int, own: int, box: Box) -> Path:
    """Start a proxy, and wait until it listens. It ends with its box.

    Args:
        port: where the server listens that it is in front of.
        own: where the proxy is to listen.

    Returns:
        The file of its log.
    """
    template, command = PROXIES[name]
    if shutil.which(command[0], path="/usr/sbin:/usr/bin") is None:
        pytest.skip(f"{name} is not installed")
    file = box.folder / f"{name}.conf"
    file.write_text(template.format(folder=box.tmp, host=HOST, port=port, own=own))
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin") or ""
    output: Path = box.folder / f"{name}.output"
    box.start([program, *command[1:], str(file)], output=output)
    wait_until(lambda: not can_bind(own), 20, lambda: output.read_text())
    return output
