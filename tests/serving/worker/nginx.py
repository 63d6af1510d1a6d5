"""nginx in front of a service, with the configuration that the project recommends."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from tests.waiting import until

ROOT = Path(__file__).parents[3]
SBIN = "/usr/sbin"  # Debian's; not in every user's PATH
MAIN = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""


def program() -> str | None:
    """Return the path of nginx, or None."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{SBIN}")


class Nginx:
    """nginx on a free port.

    Args:
        folder: for its files.
        upstream: the port of the service.
        retry: whether it tries a request again that may have reached a killed worker.
    """

    def __init__(self, folder: Path, upstream: int, *, retry: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = int(server.getsockname()[1])
        self._folder = folder
        servers = (ROOT / "serving" / "nginx.conf").read_text()
        for old, new in (
            (r"server 127\.0\.0\.1:8080", f"server 127.0.0.1:{upstream}"),
            (r"listen 80;", f"listen 127.0.0.1:{self.port};"),
            (r"server_name .*;", ""),
            *([] if retry else [(r"proxy_next_upstream .*;", "proxy_next_upstream off;")]),
        ):
            servers, count = re.subn(old, new, servers)
            assert count, old
        configuration = folder / "nginx.conf"
        configuration.write_text(MAIN.format(folder=folder, servers=servers))
        folder.chmod(0o755)
        command = [program() or "nginx", "-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log")]
        self._process = subprocess.Popen(command, cwd=folder)
        until(self._listens, passing=OSError, said=self.log)

    def log(self) -> str:
        """Return the log of errors."""
        file = self._folder / "error.log"
        return file.read_text() if file.exists() else ""

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait()

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.log()
        socket.create_connection(("127.0.0.1", self.port)).close()
        return True
