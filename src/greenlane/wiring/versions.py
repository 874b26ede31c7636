"""Which versions answer: of the code, the libraries, the models, the features and the policy."""

import hashlib
import platform
import sys
from importlib import metadata
from pathlib import Path

import greenlane
from greenlane.decide import Lane
from greenlane.decisions.answer import Versions
from greenlane.policy.approving import Approving

ONLINE_ROOMS = ("decisions", "features", "journal", "merchants", "models", "outcomes", "payments", "policy", "ports")


def versions_of(lane: Lane) -> Versions:
    models, approving = {"fraud": lane.model.id} if lane.model is not None else {}, lane.folds.approvals
    if isinstance(approving, Approving) and approving.model is not None:
        models["approval"] = approving.model.id
    return Versions(
        engine=engine_version(),
        runtime=runtime_fingerprint(),
        models=models,
        features=lane.features.features.digest,
        policy=lane.policy.version,
    )


def engine_version() -> str:
    """The release, and a hash of the code that answers: two builds of one release are told apart."""
    root = Path(greenlane.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    pages = [root / "decide.py", root / "proceed.py"]
    for path in [*pages, *(p for room in ONLINE_ROOMS for p in sorted((root / room).glob("*.py")))]:
        digest.update(path.read_bytes())
    return f"{greenlane.__version__}+{digest.hexdigest()}"


def runtime_fingerprint() -> str:
    """What besides our code decides the last bit of a float."""
    libraries = "-".join(f"{name}{metadata.version(name)}" for name in ("numpy", "numba", "llvmlite"))
    return f"py{platform.python_version()}-{libraries}-{sys.platform}-{platform.machine()}"
