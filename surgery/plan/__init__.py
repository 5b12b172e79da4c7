"""Recipe x architecture x headers -> plan. Pure: no weight is read."""

from surgery.plan.make import make_plan
from surgery.plan.model import Conservation, Kind, Plan, TensorOp, TensorRef

__all__ = ["Conservation", "Kind", "Plan", "TensorOp", "TensorRef", "make_plan"]
