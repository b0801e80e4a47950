"""Who writes which stored objects -> what the write will do, in numbers, before a byte is written. No Dask."""

from daskzarr.write_plan.plan import FAN_IN, PlannedArray, WritePlan, fan_in, together
from daskzarr.write_plan.planning import plan_write

__all__ = ["FAN_IN", "PlannedArray", "WritePlan", "fan_in", "plan_write", "together"]
