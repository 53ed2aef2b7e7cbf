"""A Kubernetes API server on etcd, and nothing beside: no controllers, no kubelet, so that no pod ever runs.

Objects, their validation, their rights and their watches are the real thing. What a controller would do is not: objects
are not removed with their owner, a namespace that is deleted stays Terminating, no default service account is made, and
the roles view, edit and admin are empty.
The binaries are those of tests/cluster; `scripts/setup test` builds them.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.servers.base import Server, free_port, program, running
from tests.servers.locks import Unavailable

TOKEN = "admin-s3cret"
ISSUER = "https://kubernetes.default.svc.cluster.local"


def binary(name: str) -> str:
    """The path of a binary of tests/cluster. Raises Unavailable where it was not built."""
    cache = os.environ.get("CLUSTER_CACHE") or (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "superduper-cluster"
    )
    path = Path(cache) / "bin" / name
    if not path.exists():
        raise Unavailable(f"{path} is missing; run scripts/setup test")
    return str(path)


class EtcdServer(Server):
    """Where the API server keeps its objects."""

    name = "etcd"
    apart = True

    def install(self) -> None:
        self.own(self.directory / "data")
        (self.directory / "peer-port").write_text(str(free_port()))

    def command(self) -> list[str]:
        peer = f"http://127.0.0.1:{(self.directory / 'peer-port').read_text()}"
        return [
            *(binary("etcd"), "--name=etcd", f"--data-dir={self.directory / 'data'}", "--unsafe-no-fsync"),
            *(f"--listen-client-urls={self.uri}", f"--advertise-client-urls={self.uri}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=etcd={peer}"),
            "--log-level=warn",
        ]

    def check(self) -> None:
        from urllib.request import urlopen

        with urlopen(f"{self.uri}/health", timeout=2) as answer:
            if json.load(answer)["health"] != "true":
                raise ConnectionError("etcd is not healthy yet")

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        yield self.uri


class ApiServer(Server):
    """The API server. `kubeconfig` has all rights; RBAC decides about everybody else."""

    name = "kube-apiserver"
    apart = True  # operators of all namespaces, and kinds that come and go
    # Asked politely, it waits half a minute for those who watch. What it knows is in etcd.
    stop_signal = signal.SIGKILL

    def install(self) -> None:
        self.own(self.directory / "certificates")
        key = str(self.directory / "service-account.key")
        self.run_once(program("openssl"), "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        (self.directory / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")

    def command(self) -> list[str]:
        key = self.directory / "service-account.key"
        return [
            *(
                binary("hyperkube"),
                "kube-apiserver",
                f"--etcd-servers={EtcdServer(self.directory.parent, self.worker).uri}",
            ),
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port}"),
            *(f"--cert-dir={self.directory / 'certificates'}", f"--token-auth-file={self.directory / 'tokens.csv'}"),
            # Pods are objects like others here: they need no service account, which only a controller would make.
            *("--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"),
            *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
            *(f"--service-account-issuer={ISSUER}", "--service-cluster-ip-range=10.96.0.0/16", "--profiling=false"),
            # Nobody's load is shaped: tests compare times.
            "--enable-priority-and-fairness=false",
        ]

    def check(self) -> None:
        self.write_kubeconfig()
        self.kubectl("get", "--raw", "/readyz", deadline=5)

    @property
    def uri(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """A file for KUBECONFIG with the rights of a cluster's administrator."""
        return self.directory / "kubeconfig"

    @property
    def authority(self) -> Path:
        """The certificate that its answers are signed with."""
        return self.directory / "certificates" / "apiserver.crt"

    def write_kubeconfig(self) -> None:
        """The file is whole at any time, since other workers read it."""
        authority = base64.b64encode(self.authority.read_bytes()).decode()
        cluster = {"server": self.uri, "certificate-authority-data": authority}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        draft = self.kubeconfig.with_suffix(f".{uuid.uuid4().hex}")
        draft.write_text(json.dumps(content))
        draft.rename(self.kubeconfig)

    def kubectl(self, *arguments: str, given: str | None = None, deadline: float = 60) -> str:
        """What kubectl prints. Raises ConnectionError with what it complains of where it fails."""
        done = self.tried(*arguments, given=given, deadline=deadline)
        if done.returncode:
            raise ConnectionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def tried(
        self, *arguments: str, given: str | None = None, deadline: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """kubectl, whatever comes of it."""
        return subprocess.run(
            [binary("kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments],
            input=given if given is not None else "",
            capture_output=True,
            text=True,
            timeout=deadline,
            env={**os.environ, "HOME": str(self.directory)},  # its discovery cache lives and dies with the server
            check=False,
        )

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A namespace that nobody else uses; it is empty, and stays behind."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.kubectl("create", "namespace", name)
        yield name

    def install_crds(self, folder: Path) -> None:
        """Apply our CRDs, which lie in that folder, and wait until their objects are served."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(folder))
        names = self.kubectl("get", "crd", "-o", "name").split()
        ours = [name for name in names if name.endswith(".superduper.io")]
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *ours)
        end = time.monotonic() + 30
        while "superduper.io" not in self.kubectl("api-resources", "--api-group=superduper.io", "-o", "name"):
            if time.monotonic() > end:
                raise Unavailable("superduper.io is not served")
            time.sleep(0.1)


def start(root: Path) -> AbstractContextManager[EtcdServer]:
    return running(EtcdServer, root)
