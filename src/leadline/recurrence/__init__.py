"""Systems of uniform recurrence equations: from a model, their depth, schedules, context, state and growth laws."""

from leadline.recurrence._law import Law, Laws, law
from leadline.recurrence._system import system
from leadline.recurrence.analysis.schedule import Schedule
from leadline.recurrence.ir import System

__all__ = ["Law", "Laws", "Schedule", "System", "law", "system"]
