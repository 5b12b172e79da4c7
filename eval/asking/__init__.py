"""The one loop that puts questions to models, and what it needs: sessions, stores, processes."""
