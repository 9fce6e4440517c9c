"""Systems of uniform recurrence equations: from a model, their depth, schedules, context, state and growth laws."""

from leadline.recurrence.growth import Law, Laws, law
from leadline.recurrence.ir import System
from leadline.recurrence.lower import system
from leadline.recurrence.schedule import Schedule

__all__ = ["Law", "Laws", "Schedule", "System", "law", "system"]
