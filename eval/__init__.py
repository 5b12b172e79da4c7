"""The harness: questions, models that answer them, marks with error bars.

The package's name shadows a builtin when imported bare: always `from eval.x import y`.
"""
