"""Recipe x architecture x headers -> plan. Pure: no weight is read."""

from surgery.plan.make import make_plan
from surgery.plan.model import Conservation, Plan, TensorOp, TensorRef

__all__ = ["Conservation", "Plan", "TensorOp", "TensorRef", "make_plan"]
