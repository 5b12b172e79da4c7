"""Plans meet bytes here."""
