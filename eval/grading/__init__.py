"""Responses to grades: extraction of the answer, and its comparison with the correct one."""
