"""Every statement of the theory as an executable claim.

A claim puts what is stated to the test, by proof where a proof can be computed, else by a search for a counterexample,
else by measurement; the verdict follows from the outcomes. See `leadline.claims.claim`.
"""

from leadline.claims.claim import Claim, Evidence, Finding, Grounds, Outcome, Quantity, Verdict
from leadline.claims.counterexample import Counterexample
from leadline.claims.parameters import PARAMETERS
from leadline.claims.runner import CLAIMS, run_claims, save_counterexamples

__all__ = [
    "CLAIMS",
    "PARAMETERS",
    "Claim",
    "Counterexample",
    "Evidence",
    "Finding",
    "Grounds",
    "Outcome",
    "Quantity",
    "Verdict",
    "run_claims",
    "save_counterexamples",
]
