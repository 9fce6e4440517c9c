"""Systems of uniform recurrence equations: from a model, their depth, schedules, context, state and growth laws."""

from leadline.recurrence._law import law
from leadline.recurrence._system import system
from leadline.recurrence.analysis.schedule import Schedule
from leadline.recurrence.ir import System
from leadline.recurrence.laws import Law, Laws

__all__ = ["Law", "Laws", "Schedule", "System", "law", "system"]
