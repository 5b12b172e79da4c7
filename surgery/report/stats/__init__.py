"""Tables of update statistics to figures and terminal bars. Opens nothing but what it writes."""
