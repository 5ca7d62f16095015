"""A Kerberos realm in a folder: a KDC of MIT Kerberos on this machine, its principals, their keytabs and tickets."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from rankstream.streams.broker import free_port
from tests.builders.patience import PATIENCE_S

REALM = "RANKSTREAM.TEST"
PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
SYSTEM = "/usr/sbin:/sbin"  # where administrators' programs lie, which is not on everybody's PATH
CLIENTS = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    localhost = {realm}
"""
KDC = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
        acl_file = {folder}/acl
    }}
"""


def why_no_kdc() -> str:
    """Return which program is missing, empty where all are there."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    return f"no {missing[0]}: install krb5-kdc, krb5-admin-server and krb5-user" if missing else ""


class Realm:
    """A KDC that runs until it is closed; ``environment`` is what its clients must have."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        words = {"realm": REALM, "port": self.port, "folder": folder}
        (folder / "krb5.conf").write_text(CLIENTS.format(**words))
        (folder / "kdc.conf").write_text(KDC.format(**words))
        self.environment = {"KRB5_CONFIG": str(folder / "krb5.conf"), "KRB5_KDC_PROFILE": str(folder / "kdc.conf")}
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        command = [str(_program("krb5kdc")), "-n"]
        self._kdc = subprocess.Popen(command, env=self._env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def keytab(self, principal: str) -> Path:
        """Add a principal with a random key; return the file that holds it."""
        path = self.folder / f"{principal.replace('/', '-')}.keytab"
        self._run("kadmin.local", "-q", f"addprinc -randkey {principal}@{REALM}")
        self._run("kadmin.local", "-q", f"ktadd -k {path} {principal}@{REALM}")
        return path

    def ticket(self, principal: str, keytab: Path) -> Path:
        """Log in as a principal, as `kinit -kt`; return the cache that holds its ticket."""
        cache = self.folder / f"{principal}.cache"
        self._run("kinit", "-c", str(cache), "-kt", str(keytab), f"{principal}@{REALM}")
        return cache

    def close(self) -> None:
        """End the KDC."""
        self._kdc.kill()
        self._kdc.wait()

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if time.monotonic() > until or self._kdc.poll() is not None:
                    raise
                time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_program(program)), *arguments]
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr or done.stdout}")

    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM}")
