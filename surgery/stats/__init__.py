"""What training did to the weights, tensor by tensor, on checkpoints larger than memory.

    with open_checkpoint("path/to/in") as before, open_checkpoint("path/to/rl") as after:
        stats = Study({"in": before, "rl": after}).run()
    stats.layers  # a pandas table

`study` is the way in, `columns` says what the tables hold.
"""
