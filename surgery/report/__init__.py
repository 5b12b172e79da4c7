"""Plans, records and tables to pictures and text. Pure: nothing here opens a checkpoint."""
