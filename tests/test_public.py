"""The public surface, and what importing it loads."""

import pkgutil
import subprocess
import sys

import leadline

RESERVED = {
    "check",
    "compare",
    "count",
    "span",
    "context",
    "causality",
    "memory",
    "system",
    "law",
    "stream",
    "gradient",
    "spectrum",
    "bound",
    "lyapunov",
    "generation",
    "read",
}


def test_every_public_name_exists() -> None:
    assert sorted(leadline.__all__) == sorted(set(leadline.__all__))
    assert all(hasattr(leadline, name) for name in leadline.__all__)


def test_no_module_bears_the_name_of_a_public_function() -> None:
    """A module imported later would replace the function of the same name in its package."""
    names = [module.name for module in pkgutil.walk_packages(leadline.__path__, "leadline.")]
    assert len(names) > 50
    assert not [name for name in names if name.rpartition(".")[2] in RESERVED]


def test_importing_leadline_is_quiet_and_loads_no_heavy_package() -> None:
    heavy = "('vl_convert', 'numba', 'accelerate', 'sklearn', 'transformers', 'PIL')"
    program = f"import sys, leadline; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
