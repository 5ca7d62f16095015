"""What the last `rankstream deploy` of a folder of bundles is at, in a file beside CURRENT: how it speaks with workers.

::

    bundles/
        CURRENT       the bundle that serves
        DEPLOYMENT    shadow -> serves | refused;  serves -> rolled-back
        .shadow/ID/   a report of each worker, while two bundles rank the same requests

The command alone writes DEPLOYMENT, whole or not at all. A worker follows it, and shows the last one to who asks: also
after a restart, so that the reason of a rollback is not lost with a log.
"""

import shutil
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from rankstream.features.decoding import UNREADABLE
from rankstream.features.files import is_pointer, whole_file

DEPLOYMENT = "DEPLOYMENT"
SHADOWS = ".shadow"  # hidden, so that CURRENT never names it

Stage = Literal["shadow", "serves", "refused", "rolled-back"]


class DeploymentError(ValueError):
    """A file DEPLOYMENT that no version of the command has written."""


class Deployment(Struct, frozen=True):
    """One deployment, as of its newest stage."""

    id: str  # the same through all its stages
    bundle: str  # name of a folder beside the file
    before: str | None  # what served when it began; None for the first bundle
    stage: Stage
    at_ms: int  # when the stage began
    reason: str = ""  # why it was refused or rolled back
    share: float = 0.0  # of the requests that both bundles rank, while a shadow
    until_ms: int = 0  # when the shadow ends, also where the command was killed

    def is_shadow(self, now_ms: int) -> bool:
        """Return whether both bundles rank requests now."""
        return self.stage == "shadow" and now_ms < self.until_ms

    def has_ended_since(self, before: "Deployment | None") -> bool:
        """Return whether it has come to an end that ``before`` did not have."""
        return self.stage != "shadow" and (before is None or (self.id, self.stage) != (before.id, before.stage))

    def reports(self, bundles: Path) -> Path:
        """Return the folder of workers' reports."""
        return bundles / SHADOWS / self.id


def read_deployment(bundles: Path) -> Deployment | None:
    """Return the last deployment; None where there was none. Raises ``DeploymentError``, ``OSError``."""
    path = bundles / DEPLOYMENT
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Deployment)
    except FileNotFoundError:
        return None
    except UNREADABLE as exc:
        raise DeploymentError(f"{path} is not what `rankstream deploy` writes ({exc}): delete it") from exc
    names = [found.id, found.bundle, *([] if found.before is None else [found.before])]
    if not all(map(is_pointer, names)):
        raise DeploymentError(f"{path} names a folder that is not beside it ({', '.join(names)}): delete it")
    return found


def write_deployment(bundles: Path, deployment: Deployment) -> None:
    """Write it; workers see the one before or this one."""
    with whole_file(bundles / DEPLOYMENT) as beside:
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(deployment)) + b"\n")


def make_reports(bundles: Path, deployment: Deployment) -> Path:
    """Make the folder that workers report into, instead of all former ones, and return it."""
    delete_reports(bundles)
    folder = deployment.reports(bundles)
    folder.mkdir(parents=True)
    return folder


def delete_reports(bundles: Path) -> None:
    """Delete the reports of all shadows."""
    shutil.rmtree(bundles / SHADOWS, ignore_errors=True)
